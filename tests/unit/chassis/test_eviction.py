import asyncio
import errno
import os
from unittest.mock import Mock

import pytest

from chassis.grpc_server import eviction
from chassis.grpc_server.admission import Admission
from chassis.grpc_server.connections import Connections
from chassis.grpc_server.eviction import CROWD_INTERVAL, Eviction


async def test_a_server_out_of_descriptors_goes_on_looking_at_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Mock(side_effect=OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    monkeypatch.setattr(eviction, "descriptors", looks)
    looking = asyncio.create_task(Eviction(Admission("rng"), Connections(0)).look_at_crowd())
    await asyncio.sleep(3.5 * CROWD_INTERVAL)
    looking.cancel()
    assert looks.call_count == 3
