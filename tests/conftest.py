from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcesses, service_processes

# How long one example takes depends on what else the machine does; a test as a whole has its time.
settings.register_profile("dockercoins", deadline=None)
settings.load_profile("dockercoins")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ServiceProcesses]:
    with service_processes(tmp_path) as started:
        yield started
