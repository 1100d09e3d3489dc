import os
import shutil
import subprocess

import pytest
from support.redis_server import RedisServer


@pytest.fixture
def redis(own_redis: RedisServer) -> RedisServer:
    """A server of the test's own, as each test of processes has."""
    return own_redis


@pytest.fixture(scope="session")
def redis_program() -> str:
    """A server that knows TLS; the one that comes with the Python packages does not."""
    found = shutil.which("redis-server")
    if found is None or not _knows_tls(found):
        reason = "there is no redis-server that knows TLS; on Debian and Ubuntu, install redis-server"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def _knows_tls(program: str) -> bool:
    # With no certificate it ends at once, either way.
    asked = [program, "--port", "0", "--tls-port", "1", "--bind", "127.0.0.1"]
    return "tls-cert-file" in subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False).stdout
