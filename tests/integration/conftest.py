from collections.abc import Iterator

import pytest
from support.redis_server import RedisServer, redis_server


@pytest.fixture(scope="session")
def session_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The one real server of a session."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(session_redis: RedisServer) -> RedisServer:
    """The session's server, empty. A test that stops, freezes or reconfigures one takes `own_redis`."""
    session_redis.client().flushall()
    return session_redis
