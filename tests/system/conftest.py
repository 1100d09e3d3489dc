from collections.abc import Iterator

import pytest
from support.mine import Mine, new_mine
from support.programs import find_program, run, skip_or_fail


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mine]:
    """A mine with no service yet, which the tests of a file share."""
    with new_mine(tmp_path_factory.mktemp("mine")) as made:
        yield made


@pytest.fixture(scope="session")
def redis_program() -> str:
    """A server that knows TLS; the one that comes with the Python packages does not."""
    program = find_program("redis-server", "redis-server")
    # With no certificate it ends at once, either way.
    if "tls-cert-file" not in run(program, "--port", 0, "--tls-port", 1, "--bind", "127.0.0.1").stdout:
        skip_or_fail("redis-server knows no TLS; on Debian and Ubuntu, install redis-server")
    return program
