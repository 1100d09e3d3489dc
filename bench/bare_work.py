"""What no pipeline can do without: random bytes from the system, and SHA-256."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from hasher_svc.hashing import KernelError, kernel_hashing

MESSAGE_SIZE = 32

BLOCK_SIZE = 64
"""Bytes that SHA-256 works on at a time; a message of 32 bytes is one block once it is padded."""

SECONDS = 0.1


def kernel_digests() -> Callable[[bytes, int], bytes] | None:
    """Those of the hasher's kernel, where there is one."""
    try:
        return kernel_hashing().digests
    except KernelError:
        return None


@dataclass(frozen=True)
class BareWork:
    """CPU nanoseconds a message, in a process that does nothing else."""

    urandom: float
    sha256: float

    @property
    def total(self) -> float:
        """Of both."""
        return self.urandom + self.sha256


def measure(batch_size: int) -> BareWork:
    """With as many messages at a time. Where there is no kernel, SHA-256 is that of one long message, per block."""
    data = os.urandom(batch_size * MESSAGE_SIZE)
    digests = kernel_digests()
    if digests is None:
        message = data * (BLOCK_SIZE // MESSAGE_SIZE)
        hashing = _nanoseconds(lambda: sha256(message))
    else:
        hashing = _nanoseconds(lambda: digests(data, MESSAGE_SIZE))
    return BareWork(_nanoseconds(lambda: os.urandom(len(data))) / batch_size, hashing / batch_size)


def _nanoseconds(work: Callable[[], object]) -> float:
    """CPU time of doing it once."""
    times = 0
    ended = time.perf_counter() + SECONDS
    began = time.thread_time_ns()
    while time.perf_counter() < ended:
        work()
        times += 1
    return (time.thread_time_ns() - began) / times
