"""The only hasher stands still or is gone: time without work is shown as it passes."""

import signal
import time

import pytest
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses, local_target
from system.clocks.page import Page

# The last batch may be counted a moment after the hasher went, and the page is told four times a second.
ZERO_WITHIN_S = 5.0 + 1.0
SHOWN_S = 3.0


@pytest.mark.parametrize("freeze", [True, False], ids=["frozen", "killed"])
def test_without_its_hasher_a_worker_waits_and_the_graph_goes_on_at_nothing(
    redis: RedisServer, processes: ServiceProcesses, *, freeze: bool
) -> None:
    rng, hasher = processes.start("rng"), processes.start("hasher")
    port = hasher.port
    targets = {"RNG_TARGET": local_target(rng), "HASHER_TARGET": local_target(hasher)}
    worker = processes.start("worker", REDIS_URL=redis.url, **targets)
    webui = processes.start("webui", REDIS_URL=redis.url)
    webui.wait_until_started()
    page = Page(webui.port)
    page.wait_for_workers(1, 30)
    page.wait(lambda data: data["hashes"] >= 15, 30)

    if freeze:
        hasher.send(signal.SIGSTOP)
    else:
        hasher.kill()
    assert page.wait(lambda data: data["speed"] == 0, 30) < ZERO_WITHIN_S
    assert page.data["waits_for"] == ["hasher"]
    page.wait(lambda data: data["system"]["worker"]["replicas"][0]["speed"] == 0, 5)
    (shown,) = page.data["system"]["worker"]["replicas"]
    assert (shown["state"], shown["waits_for"]) == ("waiting", "hasher")
    assert ("waiting", "hasher") in [(mark["kind"], mark["name"]) for mark in page.marks]
    points = len(page.points)
    time.sleep(SHOWN_S)
    assert page.points[points:]
    assert set(page.points[points:]) == {0}

    if freeze:
        hasher.send(signal.SIGCONT)
    else:
        processes.start("hasher", PORT=port)
    page.wait_for_workers(1, 30)
    assert page.data["waits_for"] == []
    assert worker.stop() == 0
    counted = int(redis.client().get("hashes"))
    page.wait(lambda _: sum(page.history()) == pytest.approx(counted, abs=1e-3), 10)
