"""Which service limits the speed, from figures as workers report them."""

from typing import Any

import pytest

from webui_svc.lesson import Load, WorkerLoad, lesson


def load(rate: float, queue: float, unqueued_s: float | None = 0.1, workers: int = 10) -> Load:
    """A replica that each of the workers has a batch at for the same part of the time."""
    busy = min(1.0, queue / workers)
    return Load(rate, busy, busy * workers, queue, unqueued_s)


def of(rngs: list[Load], hasher: Load, workers: int = 10, busy: float = 0.02, window: int = 1) -> dict[str, Any]:
    rate = hasher.rate / workers
    queue = sum(each.queue for each in (*rngs, hasher)) / workers
    return lesson({"rng": rngs, "hasher": [hasher]}, [WorkerLoad(rate, window, queue, busy)] * workers, 1, "")


def test_serial_replicas_whose_queues_are_short_since_workers_send_one_batch_each_are_the_limit() -> None:
    """Three rngs of 0.1 s have ten classic workers' batches in uneven queues, and hasher works on three at a time."""
    found = of([load(9.5, 1.42)] * 3, load(28.5, 2.9))
    assert (found["limit"], found["reason"]) == ("rng", "capacity")
    assert found["predicted"] == pytest.approx(30)
    assert found["capacities"]["hasher"] is None


def test_one_service_time_behind_other_workers_is_waiting_and_not_service() -> None:
    rng = load(10, 8)
    assert (rng.busy, rng.in_service, rng.waiting, rng.capacity) == pytest.approx((1, 1, 7, 10))
    assert not rng.has_free_slots


@pytest.mark.parametrize("latency", [0.1, 0.12])
def test_a_replica_that_works_on_several_batches_at_a_time_and_keeps_none_waiting_is_no_limit(latency: float) -> None:
    hasher = load(20, 20 * latency)
    assert (hasher.busy, hasher.in_service, hasher.capacity) == (1, 2, None)
    found = of([load(9.9, 1.2)] * 2, hasher, workers=6)
    assert found["limit"] in {"rng", "worker"}


def test_a_replica_that_works_on_several_batches_at_a_time_and_lets_others_wait_is_the_limit() -> None:
    hasher = load(20, 6)
    assert (hasher.in_service, hasher.waiting, hasher.capacity) == (2, 4, 20)
    assert of([load(6.6, 0.7)] * 3, hasher)["limit"] == "hasher"


def test_workers_that_never_wait_are_the_limit_and_so_is_their_cpu_although_batches_seem_to_wait_for_services() -> None:
    assert of([load(3.33, 0.36)] * 2, load(6.66, 0.7), workers=2)["reason"] == "in_flight"
    busy = of([load(20_000, 30, None, 1)], load(20_000, 32, None, 1), workers=1, busy=0.95, window=64)
    assert (busy["limit"], busy["reason"]) == ("worker", "cpu")
    assert "busy 95 % of the time" in busy["sentence"]


def test_a_time_just_below_a_second_is_a_second() -> None:
    found = of([load(2.0006, 0.2)], load(2.0006, 0.2), workers=2)
    assert "2 workers, 1 batch in flight each, 1 s per batch" in found["sentence"]


def test_the_limit_is_unknown_without_figures_and_a_service_that_all_wait_for_is_named_without_them() -> None:
    workers = [WorkerLoad(3.3, 1, 0.7, 0.0)] * 2
    assert lesson({}, workers, 1, "")["limit"] is None
    assert lesson({"rng": [load(0, 0)], "hasher": [load(0, 0)]}, [WorkerLoad(0, 1, 0, 0.0)], 1, "")["limit"] is None
    assert lesson({}, workers, 1, "rng")["sentence"] == "No batch is counted: 2 workers wait for rng."
