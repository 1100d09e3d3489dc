"""Rows of docs/operations.md: wrong answers, nobody to ask, Redis away, faults on purpose."""

import json
import signal
import urllib.request

import pytest
from support.redis_server import RedisServer
from system.health.system import ALIVE, FULL_NAMES, READY, Service, System, not_ready, until

pytestmark = pytest.mark.pair(reason="a worker is only to be late by what it is made to be")


@pytest.mark.parametrize("name", FULL_NAMES)
def test_a_server_that_would_answer_wrongly_is_alive_and_not_ready(system: System, name: str) -> None:
    service = system.start_with_others(name, "wrong")
    service.process.send(signal.SIGUSR1)
    until(lambda: service.ready == not_ready("self-check"))
    assert service.alive == ALIVE
    assert service.statuses() == ("SERVING", "NOT_SERVING")
    service.process.send(signal.SIGUSR1)
    until(lambda: service.ready == READY)
    assert service.statuses() == ("SERVING", "SERVING")


@pytest.mark.parametrize("away", FULL_NAMES)
def test_a_worker_with_nobody_to_ask_is_alive_and_not_ready(system: System, away: str) -> None:
    needed = {name: system.start(name) for name in FULL_NAMES}
    worker = system.start("worker")
    until(lambda: worker.ready == READY)
    needed[away].process.kill()
    until(lambda: worker.ready == not_ready(away))
    assert worker.alive == ALIVE
    system.start(away)
    until(lambda: worker.ready == READY)


def test_a_worker_whose_servers_are_only_late_is_ready(system: System) -> None:
    """As when many share one: what is late to all of them is no reason for anybody to leave."""
    system.start("rng")
    system.start("hasher", FAULT_HANG_RATE=1)
    worker = system.start("worker")
    worker.process.wait_for(r"(?s)(\b0 units of work done.*){3}")
    assert worker.process.units_logged == 0
    assert worker.ready == READY


def test_a_worker_without_redis_is_ready_until_its_queue_is_full_and_mining_waits(
    system: System, redis: RedisServer
) -> None:
    worker = system.start_with_others("worker", REPORT_INTERVAL=0.1)
    redis.stop()
    worker.process.wait_for("redis is away")
    mined = worker.process.units_logged
    until(lambda: worker.process.units_logged > mined)
    assert worker.ready == READY
    until(lambda: worker.ready == not_ready("redis"))
    assert worker.alive == ALIVE
    redis.start()
    until(lambda: worker.ready == READY)


def board(webui: Service) -> bool:
    """Whether the page that is served now says that Redis is there."""
    port = webui.process.port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
        assert page.status == 200
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/events", timeout=5) as events:
        for line in events:
            if line.startswith(b"data:"):
                return bool(json.loads(line.removeprefix(b"data:"))["redis"])
    raise AssertionError("no snapshot")


def test_webui_without_redis_is_ready_and_says_that_redis_is_away(system: System, redis: RedisServer) -> None:
    webui = system.start_with_others("webui")
    assert board(webui)
    redis.stop()
    until(lambda: not board(webui))
    assert webui.ready == READY
    assert webui.alive == ALIVE
    with urllib.request.urlopen(f"http://127.0.0.1:{webui.process.port}/readyz", timeout=5) as answer:
        assert answer.status == 200
    redis.start()
    until(lambda: board(webui))


@pytest.mark.parametrize("name", FULL_NAMES)
def test_faults_on_purpose_are_hidden_from_probes(system: System, name: str) -> None:
    service = system.start_with_others(name, FAULT_HANG_RATE=1)
    assert service.alive == ALIVE
    assert service.statuses() == ("SERVING", "SERVING")
