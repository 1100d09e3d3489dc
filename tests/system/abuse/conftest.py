import resource
from collections.abc import Iterator

import pytest
from support.service_process import ServiceProcesses
from system.abuse.victim import Victim

FILES = 4_096


@pytest.fixture(autouse=True)
def _many_files() -> Iterator[None]:
    """This process opens thousands of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(FILES, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def rng(processes: ServiceProcesses) -> Victim:
    victim = Victim(processes.start("rng", PACE="full"))
    victim.warm_up()
    return victim


@pytest.fixture
def hasher(processes: ServiceProcesses) -> Victim:
    victim = Victim(processes.start("hasher", PACE="full"))
    victim.warm_up()
    return victim
