import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcesses, service_processes

# How long one example takes depends on what else the machine does; a test as a whole has its time.
settings.register_profile("dockercoins", deadline=None)
settings.load_profile("dockercoins")

# What tests send requests to is on this machine, whatever proxy the environment names; pip and docker may need that.
for name in ("no_proxy", "NO_PROXY"):
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "localhost,127.0.0.1,::1")))


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, which it may stop, freeze and fill."""
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ServiceProcesses]:
    """Starts services as processes, which end with the test."""
    with service_processes(tmp_path) as started:
        yield started
