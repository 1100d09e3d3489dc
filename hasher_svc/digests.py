"""Digests for a service: on the event loop while that is short, off it otherwise."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from hasher_svc.hashing import FALLBACK, Hashing

KNOWN_DIGEST = bytes.fromhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
"""SHA-256 of "abc", as FIPS 180-4 gives it."""


async def check_digests(hashing: Hashing = FALLBACK) -> bool:
    """Whether the known message, packed twice, has the known digest twice."""
    return hashing.digests(b"abcabc", 3) == 2 * KNOWN_DIGEST


class DigestThread:
    """Hashes large batches in one thread.

    One is enough for the kernel: what gRPC does for a batch of 32-byte messages takes longer than to hash it. The
    fallback gains nothing from more, since the interpreter runs one at a time anyway, and health suffers: with two its
    p99 went to 76 ms, with four to 130 ms.
    """

    def __init__(self, hashing: Hashing = FALLBACK) -> None:
        self._hashing = hashing
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="digests")

    async def digests(self, data: bytes, message_size: int, start: int = 0) -> bytes:
        """As those of hashing, without holding up the event loop."""
        hashing = self._hashing
        if len(data) - start <= min(hashing.inline_count * message_size, hashing.inline_bytes):
            return hashing.digests(data, message_size, start)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, hashing.digests, data, message_size, start)

    def close(self) -> None:
        """Give up what has not begun and wait for what has."""
        self._executor.shutdown(cancel_futures=True)
