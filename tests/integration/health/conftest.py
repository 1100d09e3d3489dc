import pytest
from integration.health.system import System
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses


@pytest.fixture
def system(processes: ServiceProcesses, redis: RedisServer) -> System:
    return System(processes, redis)
