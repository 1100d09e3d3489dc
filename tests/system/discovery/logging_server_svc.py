"""The real rng or hasher, as SERVICE says, which logs each batch that it completes in the file SERVER_LOG.

USR1 makes it say NOT_SERVING while it goes on, USR2 makes it say SERVING again.
"""

import asyncio
import os
import runpy
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from chassis.grpc_server import interceptor, self_test
from chassis.health import Health
from worker_svc.pool.endpoint import PROBE_ID

LOG = os.open(os.environ["SERVER_LOG"], os.O_WRONLY | os.O_APPEND)

not_serving = threading.Event()


def logged(respond: Callable[..., Awaitable[bytes]]) -> Any:
    """Return _Call.respond, with a line for each batch that has had its slot."""

    async def logging(self: Any, response: Any) -> bytes:
        encoded = await respond(self, response)
        for batch in response.batches:
            if batch.batch_id != PROBE_ID:
                client = self._caller["peer"]
                os.write(LOG, f"{time.monotonic()} {os.environ['INSTANCE']} {client} {batch.batch_id}\n".encode())
        return encoded

    return logging


async def keep_testing(health: Health, test: object) -> None:
    while True:
        health.set(self_test.CONDITION, met=not not_serving.is_set())
        await asyncio.sleep(0.05)


interceptor._Call.respond = logged(interceptor._Call.respond)  # type: ignore[method-assign]
self_test.keep_testing = keep_testing
signal.signal(signal.SIGUSR1, lambda *_: not_serving.set())
signal.signal(signal.SIGUSR2, lambda *_: not_serving.clear())

if __name__ == "__main__":
    runpy.run_module(f"{os.environ['SERVICE']}_svc", run_name="__main__")
