import socket

import pytest

from chassis.listener import ListenError, listen
from chassis.settings import SettingsError

with_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_one_line_that_names_the_variable_and_the_address(address: str) -> None:
    with listen("PORT", "127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ListenError) as error:
            listen("METRICS_PORT", address, port)
    assert str(error.value) == f"METRICS_PORT={port}: port {port} of {address} is already in use"


def test_a_closed_port_can_be_opened_again_at_once() -> None:
    with listen("PORT", "127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 1):
            first.accept()[0].close()
    listen("PORT", "127.0.0.1", port).close()


@pytest.mark.parametrize("address", ["192.0.2.1", pytest.param("2001:db8::1", marks=with_ipv6)])
def test_an_address_of_another_machine_is_a_bad_setting(address: str) -> None:
    with pytest.raises(SettingsError) as error:
        listen("PORT", address, 0, "RNG_BIND_ADDRESS")
    expected = f"RNG_BIND_ADDRESS={address!r} is not allowed: it must be an address of this machine, 0.0.0.0 or ::"
    assert str(error.value) == expected


@with_ipv6
@pytest.mark.parametrize("address", ["::", "0::0"])
def test_the_unspecified_ipv6_address_accepts_ipv4_too(address: str) -> None:
    with listen("PORT", address, 0) as listener:
        for client in ("127.0.0.1", "::1"):
            socket.create_connection((client, listener.getsockname()[1]), 1).close()
