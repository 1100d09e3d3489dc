import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_streams import FakeStageClient
from support.virtual_time import freeze

from chassis.timing import TIMER_SLACK_S
from load_test.measurement import TOTAL, Latencies, Recorder
from load_test.open_loop import OpenLoop, Rate
from worker_svc.batch import Batch
from worker_svc.pipeline import Pipeline


@pytest.mark.parametrize(
    ("rate", "warm_up", "duration", "due"),
    [
        ("1000", 0, 2, {0: 0, 500: 0.5, 1_000: 1, 1_999: 1.999}),
        ("100,0,300", 0, 3, {99: 0.99, 100: 2, 250: 2.5}),
        ("1000..0", 0, 2, {750: 1}),
        ("100..300", 1, 2, {50: 0.5, 250: 2}),
    ],
    ids=["constant", "steps", "falling", "after the warm-up"],
)
def test_a_schedule_says_when_each_hash_is_due(
    rate: str, warm_up: float, duration: float, due: dict[int, float]
) -> None:
    schedule = Rate.parse(rate).schedule(warm_up, duration)
    assert {hashes: schedule.due(hashes) for hashes in due} == pytest.approx(due)
    assert schedule.due(schedule.hashes) == math.inf


@pytest.mark.parametrize("text", ["", "fast", "-1", "1..", "1,,2", "0..0", "nan", "1e12", "1..2..3"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the type of the argument adds what is allowed
        Rate.parse(text)


class Run:
    """A pipeline, and an open loop that begins its batches of ten."""

    def __init__(self, rate: str, window: int = 1_000, duration: float = 1) -> None:
        self.rng, self.hasher = FakeStageClient(), FakeStageClient()
        self.pipeline = Pipeline(
            self.rng,
            self.hasher,
            batch_size=10,
            message_size=32,
            window=window,
            delay=0,
            on_counted=[lambda *_: self.loop.proceed()],
        )
        self.loop = OpenLoop(self.pipeline, Rate.parse(rate).schedule(0, duration))

    @property
    def begun(self) -> list[float]:
        return [batch.begun for batch in self.rng.batches]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.loop.start()
        yield


async def test_batches_begin_when_due_though_none_is_answered_and_late_ones_are_made_up_for() -> None:
    run = Run("1000")
    async with run.running():
        await asyncio.sleep(0.105)
        freeze(0.05)
        await asyncio.sleep(0.09)
    assert run.begun == pytest.approx([index / 100 for index in range(25)], abs=1.1 * TIMER_SLACK_S)


async def test_a_batch_without_room_waits_and_its_time_runs_from_when_it_was_due() -> None:
    """So a server that stalls shows in the latency of all that was due while it did."""
    run = Run("1000", window=2)
    async with run.running():
        await asyncio.sleep(0.1)
        assert len(run.begun) == 2
        run.rng.complete()
        run.hasher.complete()
        await asyncio.sleep(0.055)
        assert run.begun[1:] == [0.02]
    waits, batches = zip(*run.loop.stop(since=0.1), strict=True)
    assert waits == pytest.approx([0.155 - index / 100 for index in range(10, 16)])
    assert set(batches) == {1}


async def test_a_schedule_comes_to_its_end() -> None:
    run = Run("1000..2000", duration=0.1)
    async with run.running():
        await asyncio.sleep(0.2)
    assert len(run.begun) == 15
    assert run.loop.stop(since=0) == []


def done(recorder: Recorder, begun: float, now: float) -> None:
    recorder.done(Batch(1, 10, 32, begun), now)


def test_time_runs_from_the_last_batch_before_to_the_last_one_within() -> None:
    recorder = Recorder()
    done(recorder, 0.0, 0.9)
    recorder.begin(1.0)
    done(recorder, 0.9, 1.9)
    done(recorder, 1.9, 2.9)
    recorder.end(3.0, due_until=0.0)
    done(recorder, 2.9, 3.9)
    assert (recorder.hashes, recorder.batches, recorder.seconds) == pytest.approx((20, 2, 2.0))


def test_latency_is_that_of_batches_that_were_due_within_and_answered_at_any_time() -> None:
    recorder = Recorder()
    recorder.begin(1.0, due_since=1.0)
    done(recorder, 0.5, 1.2)
    done(recorder, 1.5, 1.6)
    recorder.end(3.0, due_until=2.0)
    done(recorder, 1.9, 4.9)
    done(recorder, 2.1, 5.0)
    assert recorder.latencies[TOTAL].count == 2
    assert recorder.quantiles()[TOTAL].max == pytest.approx(3.0)
    assert (recorder.hashes, recorder.seconds) == pytest.approx((20, 2.0)), "a silence at the end counts"


@given(st.lists(st.floats(0, 3_600), min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_right_to_a_tenth_of_a_percent_and_the_largest_exact(values: list[float], part: float) -> None:
    latencies = Latencies()
    for value in values:
        latencies.record(value)
    exact = sorted(values)[max(math.ceil(part * len(values)), 1) - 1]
    assert latencies.quantile(part) == pytest.approx(exact, rel=1e-3)
    quantiles = latencies.quantiles()
    assert quantiles.p50 <= quantiles.p90 <= quantiles.p99 <= quantiles.p999 <= quantiles.max == max(values)
