import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support import company
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcesses, service_processes
from xdist.remote import Producer
from xdist.scheduler import Scheduling

# How long one example takes depends on what else the machine does; a test as a whole has its time.
settings.register_profile("dockercoins", deadline=None)
settings.load_profile("dockercoins")

# What tests send requests to is on this machine, whatever proxy the environment names; pip and docker may need that.
for name in ("no_proxy", "NO_PROXY"):
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "localhost,127.0.0.1,::1")))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--company", choices=company.KINDS, help="only the tests that run in such company")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if wanted := config.getoption("--company"):
        config.hook.pytest_deselected(items=[item for item in items if company.kind(item) != wanted])
        items[:] = [item for item in items if company.kind(item) == wanted]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return company.OneByOne(config, log)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ServiceProcesses]:
    with service_processes(tmp_path) as started:
        yield started
