import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial

from dockercoins.hasher.v1 import hasher_service_pb2, hasher_service_pb2_grpc

from chassis import grpc_server, process, self_check
from chassis.health import Health
from hasher_svc.digests import DigestThread, check_digests
from hasher_svc.hashing import fastest
from hasher_svc.service import HasherService
from hasher_svc.settings import HasherSettings

SERVICE = hasher_service_pb2.DESCRIPTOR.services_by_name["HasherService"].full_name


@asynccontextmanager
async def hasher(settings: HasherSettings, health: Health) -> AsyncIterator[None]:
    """The service, from listening to drained."""
    hashing = fastest()
    with closing(DigestThread(hashing)) as thread:
        servicer = HasherService(settings.instance, settings.pacing(), thread)
        add_servicer = partial(hasher_service_pb2_grpc.add_HasherServiceServicer_to_server, servicer)
        async with grpc_server.serve(settings, health, SERVICE, add_servicer, partial(check_digests, hashing)):
            yield


if __name__ == "__main__":
    sys.exit(process.run("hasher", HasherSettings, hasher, self_check.CONDITION))
