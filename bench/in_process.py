"""What the pipeline is measured against: the same work in one loop, with no network."""

import os
import time
from hashlib import sha256

MESSAGE_SIZE = 32


def hashes_per_second(batch_size: int, seconds: float) -> float:
    """One urandom a batch and a hashlib loop, on one core."""
    hashes = 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        data = memoryview(os.urandom(batch_size * MESSAGE_SIZE))
        b"".join([sha256(data[i : i + MESSAGE_SIZE]).digest() for i in range(0, len(data), MESSAGE_SIZE)])
        hashes += batch_size
    return hashes / elapsed
