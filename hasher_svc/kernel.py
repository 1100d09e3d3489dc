"""Hashing a batch in one call of C, without the interpreter's lock: kernel.c on the OpenSSL that hashlib uses."""

import ctypes
import importlib
from pathlib import Path

from hasher_svc import fallback
from hasher_svc.digests_function import Digests

LIBRARY = Path(__file__).with_name("libkernel.so")
"""Where hatch_build.py puts it, if there was a compiler."""

INLINE_COUNT = 4_096
"""Messages up to which a batch is hashed on the event loop: about 0.2 ms. Handing it to a thread costs the process a
quarter more CPU time at this size, three quarters more at 256 messages (measured)."""

INLINE_BYTES = 256 * 1024
"""The same for long messages: about 0.15 ms."""

_DIGEST_SIZE = 32
_MAX_CHECKED_SIZE = 2 * 64 + 1
"""One byte more than two blocks: all ways to pad a message."""


class KernelError(Exception):
    """The kernel can't be used here; the message says why."""


def load() -> Digests:
    """The kernel, with the parameters and results of fallback.digests.

    Raises KernelError when it was not built, when this interpreter hides its OpenSSL, or when it hashes wrongly.
    """
    if not LIBRARY.exists():
        raise KernelError("it was not built")
    try:
        hash_packed = ctypes.CDLL(str(LIBRARY)).hash_packed
        # Names are looked up in what a library is linked to as well, here in OpenSSL.
        update = ctypes.CDLL(importlib.import_module("_hashlib").__file__).SHA256_Update
    except (AttributeError, ImportError, OSError) as error:
        raise KernelError(str(error)) from error
    hash_packed.argtypes = (ctypes.c_void_p, ctypes.c_char_p, *(ctypes.c_size_t,) * 3, ctypes.c_char_p)
    hash_packed.restype = None
    update_address = ctypes.cast(update, ctypes.c_void_p)

    def digests(data: bytes, message_size: int, start: int = 0) -> bytes:
        count = (len(data) - start) // message_size
        # As in C, where bytes are made first and filled then: nobody else has seen them.
        packed = bytes(_DIGEST_SIZE * count)
        hash_packed(update_address, data, start, message_size, count, packed)
        return packed

    for size in range(1, _MAX_CHECKED_SIZE + 1):
        data = bytes(number % 251 for number in range(3 * size))
        if digests(data, size, size) != fallback.digests(data, size, size):
            raise KernelError(f"it hashes messages of {size} bytes wrongly")
    return digests
