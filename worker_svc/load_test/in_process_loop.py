"""What every point is measured against: the same work in one process, on one core, with no network."""

import os
import time
from hashlib import sha256


def hashes_per_second(batch_size: int, message_size: int, seconds: float) -> float:
    """One urandom a batch and a hashlib loop over its messages, for so long, and for one batch at least."""
    hashes = 0
    began = time.perf_counter()
    while True:
        data = memoryview(os.urandom(batch_size * message_size))
        b"".join([sha256(data[i : i + message_size]).digest() for i in range(0, len(data), message_size)])
        hashes += batch_size
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            return hashes / elapsed
