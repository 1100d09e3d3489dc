"""The real hasher with another way of hashing: `python -m bench.hasher hashlib`, or `nothing`."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from functools import partial

from chassis import process
from chassis.grpc_server import self_test, server
from chassis.telemetry import Telemetry
from hasher_svc.hashing import HASHLIB, KERNEL_INLINE_BYTES, KERNEL_INLINE_COUNT, DigestThread, Hashing
from hasher_svc.service import SERVICE, HasherService
from hasher_svc.settings import HasherSettings


def _nothing(data: bytes, message_size: int, start: int = 0) -> bytes:  # noqa: ARG001 - as others have it
    """The messages themselves, which are as long as digests are, and as random: coins are as many as ever."""
    return data[start:]


HASHINGS: Mapping[str, Hashing] = {
    "hashlib": HASHLIB,
    "nothing": Hashing(_nothing, KERNEL_INLINE_COUNT, KERNEL_INLINE_BYTES),
}


async def _well() -> bool:
    return True


@asynccontextmanager
async def hasher(hashing: Hashing, settings: HasherSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    """The service, which does not check its digests: it would not be ready with wrong ones."""
    with closing(DigestThread(hashing)) as thread:
        servicer = HasherService(settings.instance, settings.pacing(), thread)
        async with server.serve(settings, telemetry, SERVICE, servicer.add_to, _well):
            yield


if __name__ == "__main__":
    sys.exit(process.run("hasher", HasherSettings, partial(hasher, HASHINGS[sys.argv[1]]), self_test.CONDITION))
