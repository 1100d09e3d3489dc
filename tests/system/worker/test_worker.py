import json
import signal
import time
from typing import Any

from support.admin_endpoint import Samples, scrape
from support.mine import READY, Mine, not_ready
from support.waiting import wait_until

from chassis.batch_limits import MAX_BATCHES
from chassis.settings import STOP_LIMIT_S

BATCH_SIZE = 256
WINDOW = 4
WORKER: dict[str, Any] = {"PACE": "full", "BATCH_SIZE": BATCH_SIZE, "WINDOW_SIZE": WINDOW, "REPORT_INTERVAL": 0.1}

# A service promises 3.5 s on a machine that has time for it.
STOPPED_WITHIN_S = 8.0


def metrics(mine: Mine) -> Samples:
    """The worker's."""
    return scrape(mine.metrics_ports["worker"])


def test_services_can_start_in_any_order_and_a_worker_names_those_it_has_not_reached(mine: Mine) -> None:
    mine.redis.stop()
    worker = mine.start("worker", **WORKER)
    mine.until("worker", not_ready("rng", "hasher", "redis"))
    mine.start("hasher", PACE="full")
    mine.until("worker", not_ready("rng", "redis"))
    mine.start("rng", PACE="full")
    wait_until(lambda: metrics(mine)("dockercoins_worker_hashes_total") > 0)
    mine.until("worker", not_ready("redis"))
    assert worker.units_logged == 0, "what Redis has not counted"
    mine.redis.start()
    mine.until("worker", READY)
    worker.wait_for("[1-9][0-9]* units of work done")


def test_all_count_the_same_work(mine: Mine) -> None:
    """Once they have nothing to do, since rng is frozen."""

    def agree() -> bool:
        worker = metrics(mine)
        hasher = scrape(mine.metrics_ports["hasher"])
        hashes = hasher("dockercoins_hasher_hashes_total")
        completed = worker.total("dockercoins_worker_completed_batches_total", service="hasher")
        messages = worker.total("grpc_client_msg_received_total", grpc_method="StreamHashes")
        return (
            worker("dockercoins_worker_hashes_total") == hashes == mine.redis.hashes
            and worker("dockercoins_worker_batches_total") == completed == hashes / BATCH_SIZE
            and worker("dockercoins_worker_coins_total") == int(mine.redis.client().get("coins"))
            and worker("dockercoins_worker_unreported_hashes") == 0
            and worker("dockercoins_worker_redis_seconds_count") >= worker("dockercoins_worker_reports_sent_total") > 0
            and completed / MAX_BATCHES <= messages
            and messages == hasher.total("grpc_server_msg_sent_total", grpc_method="StreamHashes")
        )

    mine.running["rng"].send(signal.SIGSTOP)
    wait_until(agree)
    mine.running["rng"].send(signal.SIGCONT)
    mine.mines_on()


def test_the_metrics_of_one_moment_agree(mine: Mine) -> None:
    for _ in range(20):
        worker = metrics(mine)
        batches = worker("dockercoins_worker_batches_total")
        rng, hasher, total = (
            worker("dockercoins_worker_batch_seconds_count", stage=stage) for stage in ("rng", "hasher", "total")
        )
        assert 0 < batches == total <= hasher <= rng <= batches + WINDOW
        assert (
            0 <= worker("dockercoins_worker_in_flight_batches") <= WINDOW == worker("dockercoins_worker_window_batches")
        )
        assert worker("dockercoins_worker_batch_size") == BATCH_SIZE
        assert 0 <= worker.total("dockercoins_worker_outstanding_batches") <= WINDOW


def test_mining_waits_while_the_queue_is_full_and_what_waited_is_counted(mine: Mine) -> None:
    mine.redis.stop()
    mine.until("worker", not_ready("redis"))
    wait_until(lambda: metrics(mine)("dockercoins_worker_in_flight_batches") == 0)
    waiting = metrics(mine)
    assert waiting("dockercoins_worker_unreported_hashes") > 0
    assert waiting("dockercoins_worker_reports_resent_total") > 0
    time.sleep(0.5)
    assert metrics(mine)("dockercoins_worker_hashes_total") == waiting("dockercoins_worker_hashes_total")
    mine.redis.start()
    mine.until("worker", READY)
    mine.mines_on()


def test_a_worker_that_was_frozen_goes_on_and_has_lost_nothing_when_it_stops(mine: Mine) -> None:
    worker = mine.running["worker"]
    worker.send(signal.SIGSTOP)
    time.sleep(2)
    worker.send(signal.SIGCONT)
    mine.mines_on(2)
    assert worker.stop() == 0
    assert mine.redis.hashes == worker.units_logged > 0


def test_a_redis_that_is_frozen_for_a_while_at_the_very_end_costs_nothing(mine: Mine) -> None:
    before = mine.redis.hashes
    # Of these seconds, a busy machine may take two.
    worker = mine.start("worker", **WORKER, STOP_LIMIT=STOP_LIMIT_S + 2)
    wait_until(lambda: mine.redis.hashes > before)
    mine.redis.freeze()
    worker.send(signal.SIGTERM)
    time.sleep(1.5)
    mine.redis.send(signal.SIGCONT)
    assert worker.popen.wait(30) == 0
    assert mine.redis.hashes - before == worker.units_logged


def test_a_worker_may_wait_for_a_redis_that_is_away_at_its_end(mine: Mine) -> None:
    before = mine.redis.hashes
    worker = mine.start("worker", **WORKER, STOP_LIMIT=60)
    wait_until(lambda: mine.redis.hashes > before)
    mine.redis.stop()
    worker.wait_for("Redis is unavailable, reports are queued")
    worker.send(signal.SIGTERM)
    time.sleep(STOP_LIMIT_S + 1)
    assert worker.popen.poll() is None
    mine.redis.start()
    assert worker.popen.wait(30) == 0
    assert mine.redis.hashes - before == worker.units_logged


def test_a_redis_away_at_the_very_end_costs_what_the_log_says(mine: Mine) -> None:
    mine.redis.client().flushall()
    worker = mine.start("worker", **WORKER, STOP_LIMIT=STOP_LIMIT_S)
    wait_until(lambda: mine.redis.hashes)
    # With no report on its way, which Redis might count although the worker never hears of that.
    worker.send(signal.SIGSTOP)
    time.sleep(0.3)
    mine.redis.stop()
    worker.send(signal.SIGCONT)
    worker.wait_for("Redis is unavailable, reports are queued")
    done = metrics(mine)("dockercoins_worker_hashes_total")
    wait_until(lambda: metrics(mine)("dockercoins_worker_hashes_total") > done)
    assert worker.stop() == 1
    lost = int(worker.wait_for(r"hashes could not be reported.*hashes=(\d+)")[1])
    mine.redis.start()
    assert mine.redis.hashes == worker.units_logged
    assert lost > 0


def test_all_stop_soon_and_lose_nothing_in_no_order(mine: Mine) -> None:
    """As when the machine shuts down; `make run` and compose keep an order."""
    before = mine.redis.hashes
    mine.start("worker", PACE="full")
    wait_until(lambda: mine.redis.hashes > before + 3)
    order = [mine.running[name] for name in ("worker", "rng", "hasher")]
    began = time.monotonic()
    for process in order:
        process.send(signal.SIGTERM)
    assert [process.popen.wait(30) for process in order] == [0, 0, 0]
    assert time.monotonic() - began < STOPPED_WITHIN_S
    assert mine.redis.hashes - before == order[0].units_logged > 0


def test_a_storm_of_broken_streams_is_a_line_a_second(mine: Mine) -> None:
    rng = mine.start("rng", PACE="full", FAULT_ERROR_RATE=0.5)
    mine.start("hasher", PACE="full")
    worker = mine.start("worker", PACE="full", LOG_FORMAT="json")
    worker.wait_for("stream broken")
    began = time.monotonic()
    time.sleep(3)  # the storm
    lines = [json.loads(text) for text in worker.text.splitlines()]
    breaks = [line for line in lines if line["event"] == "stream broken" and line["to"] == "rng"]
    assert 2 <= len(breaks) <= time.monotonic() - began + 3
    assert sum(line["times"] for line in breaks) > 2 * len(breaks)
    assert rng.instance in {line["replica"] for line in breaks}
    assert worker.stop() == 0
