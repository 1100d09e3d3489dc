import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.discovery.mine import RNG, Mine, address
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses

from bench.dns_server import dns_server


@pytest.fixture
def mine(processes: ServiceProcesses, redis: RedisServer, tmp_path: Path) -> Iterator[Mine]:
    for number in (1, 2, 3):
        try:
            socket.create_server((address(number), 0)).close()
        except OSError:
            if "CI" in os.environ:
                raise
            pytest.skip(f"no address {address(number)} here: sudo ifconfig lo0 alias {address(number)}")
    with dns_server(RNG) as dns:
        mine = Mine(processes, redis, dns, tmp_path)
        try:
            yield mine
        finally:
            mine.random.close()
            mine.hashed.close()
