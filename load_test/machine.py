"""What a load test ran on, without naming the machine."""

import os
import platform
import ssl
from importlib import metadata
from pathlib import Path
from typing import Any

from chassis import cpus

GIGABYTE = 2**30


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system, and how busy it was before."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    return {
        "processor": _processor(),
        "cores": cpus.usable(),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of what the pipeline is made of."""
    return {
        "dockercoins-grpc": metadata.version("dockercoins-grpc"),
        "Python": platform.python_version(),
        "grpcio": metadata.version("grpcio"),
        "protobuf": metadata.version("protobuf"),
        "OpenSSL": ssl.OPENSSL_VERSION.removeprefix("OpenSSL ").split()[0],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
