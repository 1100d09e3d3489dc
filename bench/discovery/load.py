"""Batches that a client is given to have answered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from bench.discovery.way import Client
from worker_svc.batch import Batch

BATCH_SIZE = 16
MESSAGE_SIZE = 32


@contextlib.asynccontextmanager
async def full_load(client: Client, window: int) -> AsyncIterator[None]:
    """Keep so many batches in flight, while the context is open."""
    asked = 0
    more = True

    def ask() -> None:
        nonlocal asked
        asked += 1
        client.submit(Batch(asked, BATCH_SIZE, MESSAGE_SIZE, 0.0))

    def answered(_: Batch) -> None:
        if more:
            ask()

    client.on_answer = answered
    try:
        async with running(client.run()):
            for _ in range(window):
                ask()
            yield
            more = False
    finally:
        await client.close(1.0)


@contextlib.asynccontextmanager
async def running(*jobs: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have these run until the context is left. Raises an ExceptionGroup when one fails."""
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(job) for job in jobs]
        yield
        for task in started:
            task.cancel()
