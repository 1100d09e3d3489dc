"""The machine that a load test runs on: what it is, the CPU time it spends, and its speed without a network."""

import os
import platform
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from chassis import cpus


def machine() -> dict[str, Any]:
    """Return its processor, cores, memory, system and load, but not its name."""
    return {
        "processor": _processor(),
        "cores": cpus.usable(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of the pipeline's parts."""
    return {
        "dockercoins-grpc": metadata.version("dockercoins-grpc"),
        "Python": platform.python_version(),
        "grpcio": metadata.version("grpcio"),
        "protobuf": metadata.version("protobuf"),
        "OpenSSL": ssl.OPENSSL_VERSION.removeprefix("OpenSSL ").split()[0],
    }


def cpu_seconds(services: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU seconds that this process and the services (process ids by name) have used, as far as they run."""
    used = {"load-test": time.process_time()}
    for name, pid in services.items():
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            used[name] = times.user + times.system
    return used


def baseline_hashes_per_second(batch_size: int, message_size: int, seconds: float) -> float:
    """Measure the same work in one process on one core without a network, for this time and at least one batch."""
    hashes = 0
    began = time.perf_counter()
    while True:
        data = memoryview(ssl.RAND_bytes(batch_size * message_size))
        b"".join([sha256(data[i : i + message_size]).digest() for i in range(0, len(data), message_size)])
        hashes += batch_size
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            return hashes / elapsed
