import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial

from chassis import grpc_server, process, self_check
from chassis.health import Health
from hasher_svc.digests import DigestThread, check_digests
from hasher_svc.hashing import fastest
from hasher_svc.service import SERVICE, HasherService
from hasher_svc.settings import HasherSettings


@asynccontextmanager
async def hasher(settings: HasherSettings, health: Health) -> AsyncIterator[None]:
    """The service, from listening to drained."""
    hashing = fastest()
    with closing(DigestThread(hashing)) as thread:
        servicer = HasherService(settings.instance, settings.pacing(), thread)
        async with grpc_server.serve(settings, health, SERVICE, servicer.add_to, partial(check_digests, hashing)):
            yield


if __name__ == "__main__":
    sys.exit(process.run("hasher", HasherSettings, hasher, self_check.CONDITION))
