"""Rows of docs/operations.md: can't start (settings: chassis/test_server_process.py), starting, Redis never reached."""

import signal
import socket

import pytest
from support.redis_server import RedisServer
from system.health.system import ALIVE, FULL_NAMES, READY, SERVICES, System, not_ready, until

WHILE_STARTING = {
    "rng": not_ready("self-check", "starting"),
    "hasher": not_ready("self-check", "starting"),
    "worker": not_ready("rng", "hasher", "redis", "starting"),
    "webui": not_ready("redis", "starting"),
}


@pytest.mark.parametrize("name", SERVICES)
def test_while_it_starts_it_is_alive_and_says_all_that_is_missing(system: System, name: str) -> None:
    service = system.start(name, "slow-start")
    service.process.wait_for("holding back")
    assert service.alive == ALIVE
    assert service.ready == WHILE_STARTING[name]
    if name in FULL_NAMES:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", system.ports[name]), 1)
    if name == "worker":
        for other in FULL_NAMES:
            system.start(other)
    service.process.send(signal.SIGUSR1)
    until(lambda: service.ready == READY)
    if name in FULL_NAMES:
        assert service.statuses() == ("SERVING", "SERVING")


@pytest.mark.parametrize("name", SERVICES)
def test_without_its_metrics_port_it_ends_and_says_why(system: System, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = system.start(name, METRICS_PORT=port)
        assert service.process.popen.wait(20) == 1
    assert f"METRICS_PORT={port}: port {port} of 127.0.0.1 is already in use" in service.process.text


@pytest.mark.parametrize("name", SERVICES)
def test_when_a_part_fails_it_ends_and_says_why(system: System, name: str) -> None:
    """Without the others, since a defect may show at any time."""
    service = system.start(name, "failing")
    service.process.wait_until_started()
    service.process.send(signal.SIGUSR1)
    assert service.process.popen.wait(20) == 1
    assert "RuntimeError: a defect" in service.process.text
    assert service.alive is None


@pytest.mark.parametrize("name", ["worker", "webui"])
def test_it_is_not_ready_before_redis_was_there(system: System, redis: RedisServer, name: str) -> None:
    redis.stop()
    for other in FULL_NAMES:
        system.start(other)
    service = system.start(name)
    service.process.wait_for("redis is away")
    until(lambda: service.ready == not_ready("redis"))
    assert service.alive == ALIVE
    if name == "worker":
        service.process.wait_for("[1-9] units of work done")
        assert service.ready == not_ready("redis")
    redis.start()
    until(lambda: service.ready == READY)
