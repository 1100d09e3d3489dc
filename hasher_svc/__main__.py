import sys

from chassis import quick_start

with quick_start.imports():
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager, closing
    from functools import partial

    from chassis import process
    from chassis.grpc_server import self_test, server
    from chassis.telemetry import Telemetry
    from hasher_svc.hashing import DigestThread, fastest, known_answer_test
    from hasher_svc.metrics import HasherMetrics
    from hasher_svc.service import CALLERS, SERVICE, HasherService
    from hasher_svc.settings import HasherSettings


@asynccontextmanager
async def hasher(settings: HasherSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    """The service, from listening to drained."""
    hashing = fastest()
    pacing = settings.pacing()
    with closing(DigestThread(hashing)) as thread:
        servicer = HasherService(settings.instance, pacing, thread)
        telemetry.metrics.register(HasherMetrics(servicer, pacing))
        check = partial(known_answer_test, hashing)
        async with server.serve(settings, telemetry, SERVICE, servicer.add_to, check, callers=CALLERS):
            yield


if __name__ == "__main__":
    sys.exit(process.run("hasher", HasherSettings, hasher, self_test.CONDITION))
