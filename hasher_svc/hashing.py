from dataclasses import dataclass

from chassis import log
from hasher_svc import fallback, kernel
from hasher_svc.digests_function import Digests
from hasher_svc.kernel import KernelError


@dataclass(frozen=True)
class Hashing:
    """A way of hashing, and how much of it the event loop can do without anybody noticing."""

    digests: Digests

    inline_count: int
    inline_bytes: int


FALLBACK = Hashing(fallback.digests, fallback.INLINE_COUNT, fallback.INLINE_BYTES)


def kernel_hashing() -> Hashing:
    """Hashing by the kernel. Raises KernelError where that can't be used."""
    return Hashing(kernel.load(), kernel.INLINE_COUNT, kernel.INLINE_BYTES)


def fastest() -> Hashing:
    """The kernel's, or the fallback where there is none; logs which, and why."""
    try:
        hashing = kernel_hashing()
    except KernelError as error:
        log.get().info("hashing", by="hashlib", cause=f"no kernel: {error}")
        return FALLBACK
    log.get().info("hashing", by="kernel")
    return hashing
