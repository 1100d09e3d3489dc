"""Hashing in a Python loop, which works everywhere."""

import time
from collections.abc import Iterator
from hashlib import sha256

INLINE_COUNT = 512
"""Messages up to which a batch is hashed on the event loop: about 0.2 ms, no more than handing it to a thread and
getting back costs (measured)."""

INLINE_BYTES = 128 * 1024
"""The same for long messages: about 0.1 ms."""

SLICE_COUNT = 4_096
"""Messages hashed before the event loop gets a turn at the interpreter: about 1.5 ms. Without it the loop waits for the
interpreter's switch interval, 5 ms, for each of its steps."""


def digests(data: bytes, message_size: int, start: int = 0) -> bytes:
    """The digests of messages of message_size bytes each, of which data from `start` on is a multiple, packed alike."""
    return b"".join(_slices(memoryview(data)[start:], message_size))


def _slices(view: memoryview, message_size: int) -> Iterator[bytes]:
    step = SLICE_COUNT * message_size
    for begin in range(0, len(view), step):
        if begin:
            time.sleep(0)
        part = view[begin : begin + step]
        yield b"".join([sha256(part[i : i + message_size]).digest() for i in range(0, len(part), message_size)])
