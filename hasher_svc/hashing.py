"""Hashing a batch: by kernel.c, or by hashlib where that can't be used; on the event loop while it is short.

The kernel is one call of C without the interpreter's lock, on the OpenSSL that hashlib uses.
"""

import asyncio
import ctypes
import importlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol, cast

from chassis import log
from chassis.batch_limits import DIGEST_SIZE

# Where hatch_build.py puts it, if there was a compiler.
KERNEL_LIBRARY = Path(__file__).with_name("libkernel.so")

# Messages that hashlib hashes before the event loop may run: about 1.5 ms. Without it the loop
# waits for the interpreter's switch interval, 5 ms, for each of its steps.
SLICE_COUNT = 4_096

# SHA-256 of "abc", as FIPS 180-4 gives it.
KNOWN_DIGEST = bytes.fromhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")

# One byte more than two blocks: all ways to pad a message.
_MAX_CHECKED_SIZE = 2 * 64 + 1


class KernelError(Exception):
    """The kernel can't be used here; the message says why."""


class Digests(Protocol):
    """A function that hashes a batch."""

    def __call__(self, data: bytes | memoryview, message_size: int) -> bytes:
        """Return the digests (32 bytes x count) of the messages (message_size x count).

        A memoryview must be the tail of a bytes object: the kernel gets the whole object and an offset.
        """


@dataclass(frozen=True)
class Hashing:
    """A way of hashing, and up to which count and bytes a batch is hashed on the event loop."""

    digests: Digests
    inline_count: int
    inline_bytes: int


def hashlib_digests(data: bytes | memoryview, message_size: int) -> bytes:
    """Hash in a Python loop, which works everywhere."""
    return b"".join(_slices(memoryview(data), message_size))


def _slices(view: memoryview, message_size: int) -> Iterator[bytes]:
    step = SLICE_COUNT * message_size
    for begin in range(0, len(view), step):
        if begin:
            time.sleep(0)
        part = view[begin : begin + step]
        yield b"".join([sha256(part[i : i + message_size]).digest() for i in range(0, len(part), message_size)])


def load_kernel() -> Digests:
    """Return the kernel's function.

    Raises KernelError when it was not built, when this interpreter hides its OpenSSL, or when it hashes wrongly.
    """
    if not KERNEL_LIBRARY.exists():
        raise KernelError("it was not built")
    try:
        hash_batch = ctypes.CDLL(str(KERNEL_LIBRARY)).hash_batch
        # Names are looked up in what a library is linked to as well, here in OpenSSL.
        update = ctypes.CDLL(importlib.import_module("_hashlib").__file__).SHA256_Update
    except (AttributeError, ImportError, OSError) as error:
        raise KernelError(str(error)) from error
    hash_batch.argtypes = (ctypes.c_void_p, ctypes.c_char_p, *3 * (ctypes.c_size_t,), ctypes.c_char_p)
    hash_batch.restype = None
    update_address = ctypes.cast(update, ctypes.c_void_p)

    def digests(data: bytes | memoryview, message_size: int) -> bytes:
        # ctypes takes no view.
        whole = cast("bytes", data.obj) if isinstance(data, memoryview) else data
        count = len(data) // message_size
        # The kernel fills a bytes object that no other code has seen, as C extensions do; a bytearray would be copied.
        packed = bytes(DIGEST_SIZE * count)
        hash_batch(update_address, whole, len(whole) - len(data), message_size, count, packed)
        return packed

    for size in range(1, _MAX_CHECKED_SIZE + 1):
        data = bytes(number % 251 for number in range(3 * size))
        if digests(data, size) != hashlib_digests(data, size):
            raise KernelError(f"it hashes messages of {size} bytes wrongly")
    return digests


# What the event loop does itself is some 0.2 ms of either way. Handing a batch of 4,096 messages to a thread costs the
# kernel a quarter more CPU time, one of 256 messages three quarters more, and hashlib as much as 512 (measured).
HASHLIB = Hashing(hashlib_digests, inline_count=512, inline_bytes=128 * 1024)


def kernel_hashing() -> Hashing:
    """Return the kernel's way of hashing. Raises KernelError where that can't be used."""
    return Hashing(load_kernel(), inline_count=4_096, inline_bytes=256 * 1024)


def fastest() -> Hashing:
    """Return the kernel's way of hashing, or hashlib's where there is no kernel; log which, and why."""
    try:
        hashing = kernel_hashing()
    except KernelError as error:
        log.get().info("hashing", by="hashlib", cause=f"no kernel: {error}")
        return HASHLIB
    log.get().info("hashing", by="kernel")
    return hashing


async def known_answer_test(hashing: Hashing) -> bool:
    """Return whether the known message, packed twice, has the known digest twice (a known-answer test)."""
    return hashing.digests(b"abcabc", 3) == 2 * KNOWN_DIGEST


class DigestThread:
    """Hashes large batches in one thread.

    One is enough for the kernel: what gRPC does for a batch of 32-byte messages takes longer than to hash it. hashlib
    gains nothing from more, since the interpreter runs one at a time anyway, and health suffers: with two its p99 went
    to 76 ms, with four to 130 ms.
    """

    def __init__(self, hashing: Hashing) -> None:
        self._hashing = hashing
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="digests")

    async def digests(self, data: bytes | memoryview, message_size: int) -> bytes:
        """Hash as Digests does, without holding up the event loop."""
        hashing = self._hashing
        if len(data) <= min(hashing.inline_count * message_size, hashing.inline_bytes):
            return hashing.digests(data, message_size)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, hashing.digests, data, message_size)

    def close(self) -> None:
        """Give up what has not begun, and wait for what has."""
        self._executor.shutdown(cancel_futures=True)
