"""The real SERVICE with a TROUBLE that USR1 brings or ends."""

import asyncio
import hashlib
import itertools
import os
import runpy
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from chassis import log, process
from chassis.settings import ServiceSettings
from chassis.telemetry.telemetry import Telemetry
from hasher_svc import fallback, kernel

BLOCKED_SECONDS = 3.0
"""Longer than a probe waits."""


def on_usr1(act: Callable[[], None]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, act)


@asynccontextmanager
async def slow_start() -> AsyncIterator[None]:
    """It does not start before the signal."""
    told = asyncio.Event()
    on_usr1(told.set)
    log.get().info("holding back")
    await told.wait()
    yield


@asynccontextmanager
async def slow_stop() -> AsyncIterator[None]:
    """It has not stopped before the signal."""
    told = asyncio.Event()
    on_usr1(told.set)
    yield
    await told.wait()


@asynccontextmanager
async def wedged() -> AsyncIterator[None]:
    """The signal has something block the event loop."""

    def block() -> None:
        log.get().info("blocked")
        time.sleep(BLOCKED_SECONDS)
        log.get().info("free again")

    on_usr1(block)
    yield


@asynccontextmanager
async def wrong() -> AsyncIterator[None]:
    """Random bytes repeat and digests are wrong from one signal to the next."""
    right = {os: ("urandom", os.urandom), fallback: ("sha256", hashlib.sha256)}
    wrong = {os: ("urandom", bytes), fallback: ("sha256", hashlib.blake2s)}
    turns: Iterator[dict[Any, tuple[str, Any]]] = itertools.cycle([wrong, right])

    def toggle() -> None:
        for module, (name, function) in next(turns).items():
            setattr(module, name, function)

    on_usr1(toggle)
    yield


@asynccontextmanager
async def failing() -> AsyncIterator[None]:
    """The signal has one of its parts fail."""
    told = asyncio.Event()
    on_usr1(told.set)

    async def part() -> None:
        await told.wait()
        raise RuntimeError("a defect")

    async with asyncio.TaskGroup() as parts:
        parts.create_task(part())
        yield


TROUBLES = {"failing": failing, "slow-start": slow_start, "slow-stop": slow_stop, "wedged": wedged, "wrong": wrong}


def main() -> None:
    run = process.run
    trouble = TROUBLES[os.environ["TROUBLE"]]

    def run_troubled(
        name: str,
        settings_class: type[ServiceSettings],
        service: Callable[[Any, Telemetry], AbstractAsyncContextManager[None]],
        *conditions: str,
    ) -> int:
        @asynccontextmanager
        async def troubled(settings: ServiceSettings, telemetry: Telemetry) -> AsyncIterator[None]:
            async with trouble(), service(settings, telemetry):
                yield

        return run(name, settings_class, troubled, *conditions)

    process.run = run_troubled
    kernel.LIBRARY = Path(__file__).with_name("nothing.so")  # what is in Python can be made wrong
    runpy.run_module(f"{os.environ['SERVICE']}_svc", run_name="__main__")


if __name__ == "__main__":
    main()
