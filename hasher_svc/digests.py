"""Hashing itself: SHA-256 of packed messages, on the event loop while that is short, off it otherwise."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

INLINE_COUNT = 512
"""Messages up to which a batch is hashed on the event loop: about 0.2 ms, no more than handing it to a thread and
getting back costs (measured)."""

INLINE_BYTES = 128 * 1024
"""The same for long messages: about 0.1 ms."""

SLICE_COUNT = 4_096
"""Messages hashed before the event loop gets a turn at the interpreter: about 1.5 ms. Without it the loop waits for the
interpreter's switch interval, 5 ms, for each of its steps."""


KNOWN_DIGEST = bytes.fromhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
"""SHA-256 of "abc", as FIPS 180-4 gives it."""


def digests(data: bytes, message_size: int) -> bytes:
    """The digests of messages of message_size bytes each, packed as the messages are.

    The length of data must be a multiple of message_size.
    """
    return b"".join(_slices(data, message_size))


def _slices(data: bytes, message_size: int) -> Iterator[bytes]:
    view = memoryview(data)
    step = SLICE_COUNT * message_size
    for begin in range(0, len(data), step):
        if begin:
            time.sleep(0)
        part = view[begin : begin + step]
        yield b"".join([sha256(part[i : i + message_size]).digest() for i in range(0, len(part), message_size)])


async def check_digests() -> bool:
    """Whether the known message, packed twice, has the known digest twice."""
    return digests(b"abcabc", 3) == 2 * KNOWN_DIGEST


class DigestThread:
    """Hashes large batches in one thread.

    One, since the interpreter runs one at a time anyway: with two, health's p99 went to 76 ms, with four to 130 ms.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="digests")

    async def digests(self, data: bytes, message_size: int) -> bytes:
        """As the function of that name, without holding up the event loop."""
        if len(data) <= INLINE_COUNT * message_size and len(data) <= INLINE_BYTES:
            return digests(data, message_size)
        return await asyncio.get_running_loop().run_in_executor(self._executor, digests, data, message_size)

    def close(self) -> None:
        """Give up what has not begun and wait for what has."""
        self._executor.shutdown(cancel_futures=True)
