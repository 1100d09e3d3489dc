import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from dockercoins.rng.v1 import rng_service_pb2, rng_service_pb2_grpc

from chassis import grpc_server, process, self_check
from chassis.health import Health
from rng_svc.service import RngService, check_source
from rng_svc.settings import RngSettings

SERVICE = rng_service_pb2.DESCRIPTOR.services_by_name["RngService"].full_name


@asynccontextmanager
async def rng(settings: RngSettings, health: Health) -> AsyncIterator[None]:
    """The service, from listening to drained."""
    servicer = RngService(settings.instance, settings.pacing())
    add_servicer = partial(rng_service_pb2_grpc.add_RngServiceServicer_to_server, servicer)
    async with grpc_server.serve(settings, health, SERVICE, add_servicer, check_source):
        yield


if __name__ == "__main__":
    sys.exit(process.run("rng", RngSettings, rng, self_check.CONDITION))
