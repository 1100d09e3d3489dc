"""Rows of the table of health in docs/operations.md that only processes show.

Elsewhere: what a worker waits for, and its full queue (test_worker.py), webui without Redis (test_webui_process.py,
test_redis_trouble.py), wrong answers (test_protocols.py), Redis that refuses (test_ledger.py), draining
(test_server_stop.py), settings and ports (test_server_process.py).
"""

import signal
import socket

import pytest
from support.admin_endpoint import scrape
from support.mine import READY, SERVICES, Mine, not_ready
from support.waiting import wait_until


@pytest.fixture(scope="module")
def mine(mine: Mine) -> Mine:
    mine.start_all(PACE="full")
    return mine


def test_under_load_every_probe_is_answered_and_ready(mine: Mine) -> None:
    """`make perf` checks that they take at most 0.1 s."""
    mine.mines_on()
    for _ in range(40):
        for name in SERVICES:
            assert mine.probe(name, limit_s=10) == READY
    mine.mines_on()


def test_a_worker_without_redis_is_ready(mine: Mine) -> None:
    mine.redis.stop()
    mine.running["worker"].wait_for("Redis is unavailable")
    done = scrape(mine.metrics_ports["worker"])("dockercoins_worker_hashes_total")
    wait_until(lambda: scrape(mine.metrics_ports["worker"])("dockercoins_worker_hashes_total") > done)
    assert mine.probe("worker", limit_s=10) == READY
    mine.redis.start()


def test_a_worker_whose_replicas_are_only_slow_is_ready(mine: Mine) -> None:
    """Workers that share a slow replica must not all become unready."""
    mine.running["hasher"].kill()
    mine.until("worker", not_ready("hasher"))
    mine.start("hasher", PACE="full", FAULT_HANG_RATE=1)
    mine.until("worker", READY)
    worker = mine.running["worker"]
    seen = len(worker.text)
    wait_until(lambda: "no response yet" in worker.text[seen:])
    assert mine.probe("worker", limit_s=10) == READY
    assert mine.grpc_health("hasher") == ("SERVING", "SERVING")  # faults are for what no probe sees


def lags_over(mine: Mine, seconds: str) -> float:
    samples = scrape(mine.metrics_ports["rng"])
    name = "dockercoins_event_loop_lag_seconds"
    return samples(f"{name}_count") - samples(f"{name}_bucket", le=seconds)


def test_a_service_is_alive_as_it_starts_silent_while_blocked_and_ends_with_a_part_that_fails(mine: Mine) -> None:
    mine.running["rng"].kill()
    rng = mine.start("rng", module="system.troubled_rng")
    rng.wait_for("holding back")
    mine.until("rng", not_ready("self-test", "starting"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", mine.ports["rng"]), 1)
    rng.send(signal.SIGUSR1)
    mine.until("rng", READY)

    before = lags_over(mine, "2.097152")
    rng.send(signal.SIGUSR1)
    rng.wait_for("blocked")
    assert mine.grpc_health("rng", 0.3) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert mine.probe("rng", "/healthz") is None
    mine.until("rng", READY)
    wait_until(lambda: lags_over(mine, "2.097152") > before)

    rng.send(signal.SIGUSR2)
    assert rng.popen.wait(30) == 1
    assert "RuntimeError: a defect" in rng.text
