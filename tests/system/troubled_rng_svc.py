"""The real rng: the first USR1 lets it start, each later one blocks its event loop, USR2 has a part of it fail."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis import log, process
from chassis.grpc_server import self_test
from chassis.telemetry import Telemetry
from rng_svc.__main__ import rng
from rng_svc.settings import RngSettings

# Longer than all probes of the test wait.
BLOCKED_S = 8.0


def block() -> None:
    log.get().info("blocked")
    time.sleep(BLOCKED_S)


async def fail(requested: asyncio.Event) -> None:
    await requested.wait()
    raise RuntimeError("a defect")


@asynccontextmanager
async def troubled(settings: RngSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    start, failing = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, start.set)
    loop.add_signal_handler(signal.SIGUSR2, failing.set)
    log.get().info("holding back")
    await start.wait()
    loop.add_signal_handler(signal.SIGUSR1, block)
    async with asyncio.TaskGroup() as parts, rng(settings, telemetry):
        parts.create_task(fail(failing))
        yield


if __name__ == "__main__":
    sys.exit(process.run("rng", RngSettings, troubled, self_test.CONDITION))
