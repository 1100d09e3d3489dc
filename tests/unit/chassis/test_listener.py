import socket

import pytest

from chassis.listener import ListenError, listen


def test_what_is_listened_on_can_be_connected_to() -> None:
    with listen("PORT", "127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname(), 1):
        accepted, _ = listener.accept()
        accepted.close()


def test_a_port_in_use_is_one_line_that_names_the_variable_and_the_address() -> None:
    with listen("PORT", "127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ListenError) as error:
            listen("METRICS_PORT", "127.0.0.1", port)
    assert str(error.value) == f"METRICS_PORT={port}: port {port} of 127.0.0.1 is already in use"


def test_a_port_in_use_on_one_address_can_t_be_taken_on_all() -> None:
    with listen("PORT", "127.0.0.1", 0) as first, pytest.raises(ListenError, match=r"of 0\.0\.0\.0 is already in use"):
        listen("PORT", "0.0.0.0", first.getsockname()[1])


def test_a_port_that_was_given_up_can_be_taken_again() -> None:
    with listen("PORT", "127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 1):
            first.accept()[0].close()
    listen("PORT", "127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "x" * 64])
def test_an_address_that_is_none_of_this_machine_s_is_one_line(host: str) -> None:
    with pytest.raises(ListenError) as error:
        listen("PORT", host, 0)
    message = str(error.value)
    assert message.startswith(f"PORT=0: port 0 of {host} can't be used (")
    assert "None" not in message
    assert "\n" not in message


def test_a_name_that_nobody_knows_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    with pytest.raises(ListenError) as error:
        listen("PORT", "nowhere", 1)
    assert str(error.value) == "PORT=1: port 1 of nowhere can't be used (Name or service not known)"
