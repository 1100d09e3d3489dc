"""The process rng."""

import sys

from chassis import quick_start

with quick_start.imports():
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager
    from functools import partial

    from dockercoins.rng.v1.rng_service_pb2_grpc import add_RngServiceServicer_to_server

    from chassis import process
    from chassis.grpc_server import self_test, server
    from chassis.telemetry import Telemetry
    from rng_svc.service import CALLERS, SERVICE, RngService, describe, repetition_test
    from rng_svc.settings import RngSettings


@asynccontextmanager
async def rng(settings: RngSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    """Serve until the context is left, which drains."""
    add_servicer = partial(add_RngServiceServicer_to_server, RngService(settings.instance, telemetry.metrics))
    async with server.serve(
        settings, telemetry, SERVICE, add_servicer, repetition_test, describe=describe, callers=CALLERS
    ):
        yield


if __name__ == "__main__":
    sys.exit(process.run("rng", RngSettings, rng, self_test.CONDITION))
