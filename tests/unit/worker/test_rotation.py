import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from worker_svc import rotation
from worker_svc.rotation import Rotation


class _Generation:
    """One that opens once there is a server."""

    def __init__(self, server: asyncio.Event, opened: asyncio.Queue[bool]) -> None:
        self._server = server
        self._opened = opened
        self.backends: list[str] = []

    async def open(self) -> None:
        self._opened.put_nowait(self._server.is_set())
        if not self._server.is_set():
            raise TimeoutError
        self.backends = ["rng-1"]

    def retire(self, **_: object) -> None:
        pass

    async def drain(self, _: float) -> int:
        return 0


async def test_a_backend_that_was_found_is_not_missed_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr("chassis.log.time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0]))
    monkeypatch.setattr(rotation, "ABSENCE_LIMIT", 0)
    server, opened = asyncio.Event(), asyncio.Queue[bool]()

    def generation() -> Any:
        return _Generation(server, opened)

    rotating = Rotation(generation, length=0.01, target="dns:///rng", name="rng", budget=None)
    with capture_logs() as lines:
        task = asyncio.create_task(rotating.run())
        async with asyncio.timeout(10):
            for _ in range(4):
                await opened.get()
            server.set()
            for _ in range(4):
                now[0] += 60
                await opened.get()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    missing = [line for line in lines if line["event"] == "no backend, still trying"]
    assert [line["times"] for line in missing] == [1]
