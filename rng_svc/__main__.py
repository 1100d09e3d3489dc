import sys

from chassis import quick_start

with quick_start.imports():
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager

    from chassis import process
    from chassis.grpc_server import self_test, server
    from chassis.telemetry import Telemetry
    from rng_svc.metrics import RngMetrics
    from rng_svc.service import CALLERS, SERVICE, RngService, check_source
    from rng_svc.settings import RngSettings


@asynccontextmanager
async def rng(settings: RngSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    """The service, from listening to drained."""
    pacing = settings.pacing()
    servicer = RngService(settings.instance, pacing)
    telemetry.metrics.register(RngMetrics(servicer, pacing))
    async with server.serve(settings, telemetry, SERVICE, servicer.add_to, check_source, callers=CALLERS):
        yield


if __name__ == "__main__":
    sys.exit(process.run("rng", RngSettings, rng, self_test.CONDITION))
