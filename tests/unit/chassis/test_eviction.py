import asyncio
import contextlib
import errno
import os

import pytest

from chassis.grpc_server import eviction
from chassis.grpc_server.admission import Admission
from chassis.grpc_server.connections import Connections
from chassis.grpc_server.eviction import Eviction


async def test_a_server_out_of_descriptors_goes_on_looking_at_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = asyncio.Queue[None]()

    def descriptors() -> int:
        looks.put_nowait(None)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(eviction, "descriptors", descriptors)
    monkeypatch.setattr(eviction, "CROWD_INTERVAL", 0)
    looking = asyncio.create_task(Eviction(Admission("rng"), Connections(0)).look_at_crowd())
    async with asyncio.timeout(10):
        for _ in range(3):
            await looks.get()
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
