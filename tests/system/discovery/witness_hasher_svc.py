"""The real hasher, which also writes a line for each batch it answers to the file WITNESS."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import grpc

from bench.witness import Witness
from chassis import process
from chassis.grpc_server import self_check, server
from chassis.telemetry.telemetry import Telemetry
from hasher_svc.digests import DigestThread, check_digests
from hasher_svc.service import CALLERS, SERVICE, HashedBatch, HasherService, MessageBatch
from hasher_svc.settings import HasherSettings


class WitnessedHasher(HasherService):
    def __init__(self, settings: HasherSettings, thread: DigestThread, witness: Witness) -> None:
        super().__init__(settings.instance, settings.pacing(), thread)
        self._witness = witness

    async def StreamHashes(  # noqa: N802 - named as in protos/
        self,
        request_iterator: AsyncIterator[MessageBatch],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[HashedBatch]:
        async for response in super().StreamHashes(request_iterator, context):
            self._witness.note(context, response.batch_id, len(response.digests))
            yield response


# A test says that all replicas are unready by making this file; they look for it all the time.
UNREADY = Path(os.environ["WITNESS"] + ".unready")
self_check.INTERVAL = 0.1


def may_serve() -> bool:
    return not UNREADY.exists()


async def check() -> bool:
    return may_serve() and await check_digests()


@asynccontextmanager
async def hasher(settings: HasherSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    with closing(DigestThread()) as thread, Witness(Path(os.environ["WITNESS"]), settings.instance) as witness:
        servicer = WitnessedHasher(settings, thread, witness)
        async with server.serve(settings, telemetry, SERVICE, servicer.add_to, check, callers=CALLERS):
            yield


if __name__ == "__main__":
    sys.exit(process.run("hasher", HasherSettings, hasher, self_check.CONDITION))
