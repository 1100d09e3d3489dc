import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis import grpc_server, process, self_check
from chassis.health import Health
from rng_svc.service import SERVICE, RngService, check_source
from rng_svc.settings import RngSettings


@asynccontextmanager
async def rng(settings: RngSettings, health: Health) -> AsyncIterator[None]:
    """The service, from listening to drained."""
    servicer = RngService(settings.instance, settings.pacing())
    async with grpc_server.serve(settings, health, SERVICE, servicer.add_to, check_source):
        yield


if __name__ == "__main__":
    sys.exit(process.run("rng", RngSettings, rng, self_check.CONDITION))
