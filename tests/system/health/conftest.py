import pytest
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses
from system.health.system import System


@pytest.fixture
def system(processes: ServiceProcesses, redis: RedisServer) -> System:
    return System(processes, redis)
