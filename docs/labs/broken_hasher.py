"""A hasher on a faulty machine: while the file `faulty` is there, one bit is wrong of each batch that it hashes.

If the file contains a number, only batches with messages of that many bytes are wrong.
"""

import sys
from pathlib import Path

from chassis import process
from chassis.grpc_server import self_test
from hasher_svc import hashing
from hasher_svc.__main__ import hasher
from hasher_svc.settings import HasherSettings


def digests(data: bytes | memoryview, message_size: int) -> bytes:
    """Return the digests, the first of which may be wrong."""
    right = hashing.hashlib_digests(data, message_size)
    faulty = Path("faulty")
    is_wrong = faulty.exists() and faulty.read_text().strip() in {"", str(message_size)}
    return bytes([right[0] ^ is_wrong]) + right[1:]


hashing.kernel_hashing = lambda: hashing.Hashing(digests, inline_count=512, inline_bytes=128 * 1024)
sys.exit(process.run("hasher", HasherSettings, hasher, self_test.CONDITION))
