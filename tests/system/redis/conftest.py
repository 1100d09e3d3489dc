import pytest
from support.redis_deployment import Deployment
from system.redis.takeover import rights

from deploy.tls.redis_users import WORKER


@pytest.fixture
def deployment(started: Deployment) -> Deployment:
    """The servers of a file, whole again and empty, with the worker's user."""
    started.restore()
    for server in started.servers:
        server.set_users({WORKER: rights(started)})
    return started
