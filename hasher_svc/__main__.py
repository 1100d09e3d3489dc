"""The process hasher."""

import sys

from chassis import quick_start

with quick_start.imports():
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager, closing
    from functools import partial

    from dockercoins.hasher.v1.hasher_service_pb2_grpc import add_HasherServiceServicer_to_server

    from chassis import process
    from chassis.grpc_server import self_test, server
    from chassis.telemetry import Telemetry
    from hasher_svc.hashing import DigestThread, fastest, known_answer_test
    from hasher_svc.service import CALLERS, SERVICE, HasherService, describe
    from hasher_svc.settings import HasherSettings


@asynccontextmanager
async def hasher(settings: HasherSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    """Serve until the context is left, which drains."""
    hashing = fastest()
    test = partial(known_answer_test, hashing)
    with closing(DigestThread(hashing)) as thread:
        servicer = HasherService(settings.instance, thread, telemetry.metrics)
        add_servicer = partial(add_HasherServiceServicer_to_server, servicer)
        async with server.serve(settings, telemetry, SERVICE, add_servicer, test, describe=describe, callers=CALLERS):
            yield


if __name__ == "__main__":
    sys.exit(process.run("hasher", HasherSettings, hasher, self_test.CONDITION))
