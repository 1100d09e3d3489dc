from collections.abc import Iterator
from pathlib import Path

import pytest
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcesses, service_processes


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ServiceProcesses]:
    with service_processes(tmp_path) as started:
        yield started
