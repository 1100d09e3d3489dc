"""The real rng, which also writes a line for each batch it answers to the file WITNESS."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest

from bench.witness import Witness
from chassis import process
from chassis.grpc_server import self_check, server
from chassis.telemetry.telemetry import Telemetry
from rng_svc.service import CALLERS, SERVICE, RandomBatch, RngService, check_source
from rng_svc.settings import RngSettings


class WitnessedRng(RngService):
    def __init__(self, settings: RngSettings, witness: Witness) -> None:
        super().__init__(settings.instance, settings.pacing())
        self._witness = witness

    async def StreamRandomBytes(  # noqa: N802 - named as in protos/
        self,
        request_iterator: AsyncIterator[StreamRandomBytesRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[RandomBatch]:
        async for response in super().StreamRandomBytes(request_iterator, context):
            self._witness.note(context, response.batch_id, len(response.data))
            yield response


# A test says that all replicas are unready by making this file; they look for it all the time.
UNREADY = Path(os.environ["WITNESS"] + ".unready")
self_check.INTERVAL = 0.1


def may_serve() -> bool:
    return not UNREADY.exists()


async def check() -> bool:
    return may_serve() and await check_source()


@asynccontextmanager
async def rng(settings: RngSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    with Witness(Path(os.environ["WITNESS"]), settings.instance) as witness:
        servicer = WitnessedRng(settings, witness)
        async with server.serve(settings, telemetry, SERVICE, servicer.add_to, check, callers=CALLERS):
            yield


if __name__ == "__main__":
    sys.exit(process.run("rng", RngSettings, rng, self_check.CONDITION))
