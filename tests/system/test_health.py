"""Rows of the table of health in docs/operations.md, in the order of one system's life.

Elsewhere: wrong answers and faults on purpose (self_check, fault_injection), Redis that refuses (test_ledger.py), what
a draining server's clients get (test_server_stop.py), settings and ports (test_server_process.py).
"""

import json
import signal
import socket
import statistics
import time
import urllib.request
from collections.abc import Iterator

import pytest
from support.admin_endpoint import ask, scrape
from support.mine import ALIVE, FULL_NAMES, READY, SERVICES, Mine, new_mine, not_ready
from support.waiting import wait_until


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mine]:
    with new_mine(tmp_path_factory.mktemp("mine")) as made:
        made.redis.stop()
        yield made


def assert_silent(mine: Mine, name: str) -> None:
    """No probe is answered in its time, over either protocol."""
    if name in FULL_NAMES:
        assert mine.grpc_health(name, 0.3) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    with socket.create_connection(("127.0.0.1", mine.metrics_ports[name]), 0.5) as probe:
        probe.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            probe.recv(1)


def assert_well(mine: Mine, name: str) -> None:
    mine.until(name, READY)
    if name in FULL_NAMES:
        assert mine.grpc_health(name) == ("SERVING", "SERVING")


def test_a_service_names_all_that_it_has_not_reached(mine: Mine) -> None:
    mine.start("worker", REPORT_INTERVAL=0.1, PACE="full", BATCH_SIZE=1, WINDOW_SIZE=1, DELAY=0.05)
    mine.start("webui")
    mine.until("worker", not_ready("rng", "hasher", "redis"))
    mine.until("webui", not_ready("redis"))


def test_a_worker_that_never_reached_redis_mines_and_is_not_ready(mine: Mine) -> None:
    for name in FULL_NAMES:
        mine.start(name, PACE="full")
        assert_well(mine, name)
    mine.running["worker"].wait_for("[1-9] units of work done")
    mine.until("worker", not_ready("redis"))
    mine.redis.start()
    for name in SERVICES:
        assert_well(mine, name)


@pytest.mark.parametrize("away", FULL_NAMES)
def test_a_worker_without_any_replica_of_a_service_is_not_ready(mine: Mine, away: str) -> None:
    mine.running[away].kill()
    mine.until("worker", not_ready(away))
    mine.start(away, PACE="full")
    mine.until("worker", READY)


@pytest.mark.parametrize("name", SERVICES)
def test_a_frozen_process_fails_liveness_until_it_goes_on(mine: Mine, name: str) -> None:
    mine.running[name].send(signal.SIGSTOP)
    assert_silent(mine, name)
    mine.running[name].send(signal.SIGCONT)
    assert_well(mine, name)


def page_has_redis(mine: Mine) -> bool:
    url = f"http://127.0.0.1:{mine.ports['webui']}"
    with urllib.request.urlopen(f"{url}/", timeout=30) as page:
        assert page.status == 200
    with urllib.request.urlopen(f"{url}/events", timeout=30) as events:
        snapshot = next(line for line in events if line.startswith(b"data:"))
    return bool(json.loads(snapshot.removeprefix(b"data:"))["redis"])


def test_without_redis_all_stay_ready_until_the_workers_queue_is_full(mine: Mine) -> None:
    """Sixty reports of a tenth of a second."""
    mine.mines_on()
    assert page_has_redis(mine)
    mine.redis.stop()
    mine.running["worker"].wait_for("redis is away")
    mine.mines_on()
    assert mine.probe("worker") == READY
    wait_until(lambda: not page_has_redis(mine))
    mine.until("worker", not_ready("redis"))
    assert mine.probe("webui") == ask(mine.ports["webui"], "/readyz") == READY
    mine.redis.start()
    mine.until("worker", READY)
    wait_until(lambda: page_has_redis(mine))


def test_a_worker_whose_replicas_are_only_slow_is_ready(mine: Mine) -> None:
    """As where many share one: what is slow for all of them makes none leave."""
    mine.running["hasher"].kill()
    mine.start("hasher", PACE="full", FAULT_HANG_RATE=1)
    mine.until("worker", READY)
    worker = mine.running["worker"]
    idle = worker.text.count(" 0 units of work done")
    wait_until(lambda: worker.text.count(" 0 units of work done") > idle)
    assert mine.probe("worker") == READY
    assert mine.grpc_health("hasher") == ("SERVING", "SERVING")  # faults are for what no probe sees
    mine.running["hasher"].kill()
    mine.start("hasher", PACE="full")
    mine.mines_on()


def test_a_service_that_stops_is_not_ready_at_once_and_alive_to_the_end(mine: Mine) -> None:
    mine.redis.freeze()
    mine.mines_on()  # what it could not report keeps it for a second
    mine.running["worker"].send(signal.SIGTERM)
    mine.running["worker"].wait_for("stopping")
    assert mine.probe("worker") == not_ready("draining"), mine.running["worker"].text
    assert mine.probe("worker", "/healthz") == ALIVE
    mine.redis.send(signal.SIGCONT)
    mine.running["worker"].popen.wait(30)


def test_under_load_every_probe_is_answered_soon_and_ready(mine: Mine) -> None:
    """`make perf` holds the slowest of a hundred to 0.1 s; here, beside other tests, it is half of them."""
    worker = mine.start("worker", PACE="full", BATCH_SIZE=65_536)
    mine.until("worker", READY)
    mine.mines_on()
    units = worker.units_logged
    taken: dict[str, list[float]] = {name: [] for name in SERVICES}
    for _ in range(40):
        for name in SERVICES:
            began = time.monotonic()
            assert mine.probe(name) == READY
            taken[name].append(time.monotonic() - began)
    mine.mines_on()
    assert worker.units_logged - units > 10 * 65_536
    assert {
        name: statistics.median(seconds) for name, seconds in taken.items() if statistics.median(seconds) > 0.1
    } == {}


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mine]:
    with new_mine(tmp_path_factory.mktemp("troubled")) as made:
        yield made


def test_a_service_that_starts_is_alive_and_refuses_clients(troubled: Mine) -> None:
    rng = troubled.start("rng", module="system.troubled_rng")
    rng.wait_for("holding back")
    troubled.until("rng", not_ready("self-check", "starting"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", troubled.ports["rng"]), 1)
    rng.send(signal.SIGUSR1)
    assert_well(troubled, "rng")


def lags_over(mine: Mine, seconds: str) -> float:
    samples = scrape(mine.metrics_ports["rng"])
    name = "dockercoins_event_loop_lag_seconds"
    return samples(f"{name}_count") - samples(f"{name}_bucket", le=seconds)


def test_a_blocked_event_loop_fails_liveness_and_shows_in_the_metrics_afterwards(troubled: Mine) -> None:
    rng = troubled.running["rng"]
    assert lags_over(troubled, "2.097152") == 0
    rng.send(signal.SIGUSR1)
    rng.wait_for("blocked")
    assert_silent(troubled, "rng")
    rng.wait_for("free again")
    assert_well(troubled, "rng")
    wait_until(lambda: lags_over(troubled, "2.097152") == 1)


def test_a_service_with_a_part_that_fails_ends_with_1_and_the_reason(troubled: Mine) -> None:
    rng = troubled.running["rng"]
    rng.send(signal.SIGUSR2)
    assert rng.popen.wait(30) == 1
    assert "RuntimeError: a defect" in rng.text
    assert troubled.probe("rng", "/healthz") is None
