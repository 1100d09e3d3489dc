"""The real rng: the first USR1 lets it start, each later one blocks its event loop, USR2 has a part of it fail."""

import asyncio
import runpy
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from chassis import log, process
from chassis.settings import ServiceSettings
from chassis.telemetry.telemetry import Telemetry

# Longer than a probe of the tests waits.
BLOCKED_S = 3.0


def _block() -> None:
    log.get().info("blocked")
    time.sleep(BLOCKED_S)
    log.get().info("free again")


async def _fail(told: asyncio.Event) -> None:
    await told.wait()
    raise RuntimeError("a defect")


def main() -> None:
    run = process.run

    def run_troubled(
        name: str,
        settings_class: type[ServiceSettings],
        service: Callable[[Any, Telemetry], AbstractAsyncContextManager[None]],
        *conditions: str,
    ) -> int:
        @asynccontextmanager
        async def troubled(settings: ServiceSettings, telemetry: Telemetry) -> AsyncIterator[None]:
            start, fail = asyncio.Event(), asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGUSR1, start.set)
            loop.add_signal_handler(signal.SIGUSR2, fail.set)
            log.get().info("holding back")
            await start.wait()
            loop.add_signal_handler(signal.SIGUSR1, _block)
            async with asyncio.TaskGroup() as parts, service(settings, telemetry):
                parts.create_task(_fail(fail))
                yield

        return run(name, settings_class, troubled, *conditions)

    process.run = run_troubled
    runpy.run_module("rng_svc", run_name="__main__")


if __name__ == "__main__":
    main()
