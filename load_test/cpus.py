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
    for folder, version in cgroups(root):
        files = ["cpu.max"] if version == 2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        # No limit is `max` in version 2, which is no number, and -1 in version 1.
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, " ".join((folder / file).read_text() for file in files).split())
            if quota > 0:
                yield quota / period


def cgroups(root: Path = Path("/")) -> Iterator[tuple[Path, int]]:
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
