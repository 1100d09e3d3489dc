"""The number of CPUs that this process may use, which in a container is less than the machine has."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable(root: Path = Path("/")) -> int:
    """Return the number of CPUs that the process's affinity and the quotas of its cgroups allow, rounded up.

    `/proc` and `/sys` are read under root.
    """
    # os.process_cpu_count comes with Python 3.13; macOS has no affinity.
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cpus, *map(math.ceil, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of the process's own cgroup and of those around it, as far as they can be seen from here."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # A container may see its own cgroup as the root although its path is another: each that exists counts.
        groups = [PurePosixPath(path.lstrip("/")), *PurePosixPath(path.lstrip("/")).parents]
        if not controllers:
            folder, files = root / "sys/fs/cgroup", ["cpu.max"]
        elif "cpu" in controllers.split(","):
            folder, files = root / "sys/fs/cgroup/cpu", ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        for group in groups:
            # No limit is `max` in version 2, which is no number, and -1 in version 1.
            with contextlib.suppress(OSError, ValueError):
                quota, period = map(int, " ".join((folder / group / file).read_text() for file in files).split())
                if quota > 0:
                    yield quota / period
