import socket

import pytest
from support.programs import skip_or_fail
from system.discovery.replicas import NUMBERS, address


@pytest.fixture(scope="session", autouse=True)
def addresses() -> None:
    """Tests here need a loopback of several addresses."""
    for number in NUMBERS:
        try:
            socket.create_server((address(number), 0)).close()
        except OSError:
            skip_or_fail(f"no address {address(number)} here: sudo ifconfig lo0 alias {address(number)}")
