"""What every point is measured against: the same work in one process, on one core, with no network."""

import os
import time
from collections.abc import Callable
from hashlib import sha256


def digests(data: bytes, message_size: int) -> bytes:
    """Those of all messages, by hashlib in a loop."""
    view = memoryview(data)
    return b"".join([sha256(view[i : i + message_size]).digest() for i in range(0, len(view), message_size)])


def hashes_per_second(
    batch_size: int, message_size: int, seconds: float, digests: Callable[[bytes, int], bytes] = digests
) -> float:
    """One urandom a batch and the digests of its messages, for so long, and for one batch at least."""
    hashes = 0
    began = time.perf_counter()
    while True:
        digests(os.urandom(batch_size * message_size), message_size)
        hashes += batch_size
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            return hashes / elapsed
