import time
from typing import NamedTuple, Self

import psutil

MEASURING_TIME = 3.0
"""Seconds, longer than a generation of streams, in each of which there is a moment with nothing half done."""

FILES_ALLOWANCE = 2
THREADS_ALLOWANCE = 2
MEMORY_ALLOWANCE = 8 * 1024 * 1024
"""What a process may hold more than before: caches fill and threads come and go."""


class Footprint(NamedTuple):
    """What a process holds."""

    files: int
    """Open files, sockets among them."""
    sockets: int
    threads: int
    memory: int
    """Resident, in bytes."""

    @classmethod
    def now(cls, pid: int) -> Self:
        process = psutil.Process(pid)
        return cls(
            files=process.num_fds(),
            sockets=len(process.net_connections("inet")),
            threads=process.num_threads(),
            memory=process.memory_info().rss,
        )

    @classmethod
    def least(cls, pid: int) -> Self:
        """The least of each in a while, which takes some seconds."""
        deadline = time.monotonic() + MEASURING_TIME
        moments = []
        while time.monotonic() < deadline:
            moments.append(cls.now(pid))
            time.sleep(0.05)
        return cls(*(min(column) for column in zip(*moments, strict=True)))

    def check_not_grown(self, before: Self) -> None:
        assert self.files <= before.files + FILES_ALLOWANCE, (before, self)
        assert self.sockets <= before.sockets + FILES_ALLOWANCE, (before, self)
        assert self.threads <= before.threads + THREADS_ALLOWANCE, (before, self)
        assert self.memory <= before.memory + MEMORY_ALLOWANCE, (before, self)
