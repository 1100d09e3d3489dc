import socket
from collections.abc import Iterator

import pytest
from support.free_port import free_port

from chassis.settings import SettingsError
from local_run.ports import PortError, check
from local_run.program import Port, Program, Stage


def program(name: str, *ports: int) -> Program:
    return Program(name, Stage.SERVERS, ("true",), ports=tuple(Port("127.0.0.1", port, "SOME_PORT") for port in ports))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_free_ports_are_fine_and_stay_free() -> None:
    port = free_port()
    check([program("rng-1", port)])
    check([program("rng-1", port)])


def test_a_taken_port_is_one_line_with_the_variable_to_change(taken: int) -> None:
    with pytest.raises(PortError) as caught:
        check([program("hasher-1", free_port()), program("rng-1", taken)])
    assert str(caught.value) == f"rng-1: port {taken} is already in use; choose another with SOME_PORT=…"


def test_a_port_taken_at_all_addresses_is_taken() -> None:
    with socket.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortError, match=f"port {port} is already in use"):
            check([program("rng-1", port)])


def test_a_port_that_two_programs_are_to_have_is_in_use_by_the_second() -> None:
    port = free_port()
    with pytest.raises(PortError, match=f"^webui: port {port} is already in use"):
        check([program("rng-1", port), program("webui", port)])


def test_an_address_of_another_machine_says_so() -> None:
    elsewhere = Program(
        "rng-1", Stage.SERVERS, ("true",), ports=(Port("192.0.2.1", free_port(), "RNG_PORT", "RNG_BIND_ADDRESS"),)
    )
    with pytest.raises(
        SettingsError, match=r"^RNG_BIND_ADDRESS='192\.0\.2\.1' is not allowed: it must be an address of"
    ):
        check([elsewhere])
