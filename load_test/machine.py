"""The machine that a load test runs on: what it is, the CPU time it spends, and its speed without a network."""

import math
import os
import platform
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import psutil

# A machine with a higher load per core before, or more steal time in per cent, is busy.
MAX_LOAD = 0.25
MAX_STEAL_PERCENT = 1.0


def machine() -> dict[str, Any]:
    """Return its processor, cores, memory, system and load, but not its name."""
    return {
        "processor": _processor(),
        "cores": usable_cpus(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def usable_cpus(root: Path = Path("/")) -> int:
    """Return the number of CPUs that the process's affinity and the quotas of its cgroups allow, rounded up.

    In a container that is less than the machine has. `/proc` and `/sys` are read under root.
    """
    # os.process_cpu_count comes with Python 3.13; macOS has no affinity.
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cpus, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    for folder, version in _cgroups(root):
        files = ["cpu.max"] if version == 2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        # No limit is `max` in version 2, which is no number, and -1 in version 1.
        with suppress(OSError, ValueError):
            quota, period = map(int, " ".join((folder / file).read_text() for file in files).split())
            if quota > 0:
                yield quota / period


def _cgroups(root: Path = Path("/")) -> Iterator[tuple[Path, int]]:
    """Yield the folders of the process's own CPU cgroup and of those around it, as far as they can be seen from here.

    With each comes the version of cgroups, 1 or 2.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # A container may see its own cgroup as the root although its path is another: each that exists counts.
        groups = [PurePosixPath(path.lstrip("/")), *PurePosixPath(path.lstrip("/")).parents]
        if not controllers:
            folder, version = root / "sys/fs/cgroup", 2
        elif "cpu" in controllers.split(","):
            folder, version = root / "sys/fs/cgroup/cpu", 1
        else:
            continue
        for group in groups:
            yield folder / group, version


class Disturbances:
    """What took the machine's CPUs from the load test since this was made, as far as the kernel reports it."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Read `/proc` and `/sys` under root."""
        self._root = root
        self._began = self._counters()

    def _counters(self) -> tuple[float, float, float, int]:
        """Return the clock ticks of all CPUs, those stolen, the seconds throttled by cgroups, and thermal throttles."""
        ticks, throttled_s, thermal = [0.0] * 8, 0.0, 0
        with suppress(OSError, ValueError):
            ticks = [float(text) for text in (self._root / "proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        for folder, _ in _cgroups(self._root):
            with suppress(OSError, ValueError):
                stat = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
                throttled_s += int(stat.get("throttled_usec", 0)) / 1e6 + int(stat.get("throttled_time", 0)) / 1e9
        for path in (self._root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count"):
            with suppress(OSError, ValueError):
                thermal += int(path.read_text())
        return sum(ticks), ticks[7], throttled_s, thermal

    def since(self) -> dict[str, Any]:
        """Return what is not 0 on a busy machine, as the report has it."""
        ticks, stolen, throttled_s, thermal = (
            now - then for now, then in zip(self._counters(), self._began, strict=True)
        )
        return {
            "steal_percent": round(100 * stolen / ticks, 1) if ticks else 0.0,
            "throttled_seconds": round(throttled_s, 2),
            "thermal_throttles": thermal,
        }


def quietness(machine: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether a report's machine was busy, and a line that says how much."""
    load, cores, steal = machine["load_before"], machine["cores"], machine.get("steal_percent", 0.0)
    throttled, thermal = machine.get("throttled_seconds", 0.0), machine.get("thermal_throttles", 0)
    busy = load > MAX_LOAD * cores or steal > MAX_STEAL_PERCENT or throttled > 0 or thermal > 0
    parts = [
        f"load {load:.2f} on {cores} cores before",
        f"{steal:.1f} % of the CPU time stolen" if steal else "no steal time",
        f"{throttled:.1f} s throttled by a cgroup" if throttled else "not throttled by a cgroup",
        f"{thermal} thermal throttles" if thermal else "not by heat",
    ]
    return busy, f"{'busy' if busy else 'quiet'}: {', '.join(parts)}"


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
