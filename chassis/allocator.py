"""Memory of large messages, kept for the next ones.

Left to itself, glibc gives a block of megabytes back to the system when it is freed and asks for it again, page by page
and zeroed, for the next message: a tenth of the CPU time that mining takes with large batches (measured).
"""

import ctypes

# From malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_MAPPED_FROM = 32 * 1024 * 1024
"""Bytes from which a block is mapped by itself: the most that glibc takes. A message has 2 MiB."""

_KEPT = 16 * 1024 * 1024
"""Free bytes at the end of a heap that are not given back."""


def keep_large_blocks() -> None:
    """Have this process keep them. Nothing where there is another allocator than glibc's."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
