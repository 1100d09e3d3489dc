import asyncio
import io
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.fake_streams import FakeStageClient
from support.load_test_reports import point
from support.virtual_time import freeze

from chassis.timing import TIMER_SLACK_S
from load_test.measurement import TOTAL, Latencies, Recorder
from load_test.open_loop import OpenLoop, Rate
from load_test.progress import Progress
from load_test.trial import Trial
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
            on_counted=[lambda *_: self.loop.batch_counted()],
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
    assert run.loop.lateness.count == 25
    assert run.loop.lateness.quantile(0.5) == pytest.approx(0)
    assert run.loop.lateness.quantile(1) == pytest.approx(0.045, abs=0.002)


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
    waits, batches = zip(*run.loop.waits(since=0.1), strict=True)
    assert waits == pytest.approx([0.155 - index / 100 for index in range(10, 16)])
    assert set(batches) == {1}


async def test_a_schedule_comes_to_its_end() -> None:
    run = Run("1000..2000", duration=0.1)
    async with run.running():
        await asyncio.sleep(0.2)
    assert len(run.begun) == 15
    assert run.loop.waits(since=0) == []


def done(recorder: Recorder, begun: float, now: float) -> None:
    recorder.done(Batch(1, 10, 32, begun), now)


def test_time_runs_from_the_last_batch_before_to_the_last_one_within() -> None:
    recorder = Recorder()
    done(recorder, 0.0, 0.9)
    recorder.begin(1.0, 2.0)
    done(recorder, 0.9, 1.9)
    done(recorder, 1.9, 2.9)
    recorder.end(3.0, due_until=0.0)
    done(recorder, 2.9, 3.9)
    assert (recorder.hashes, recorder.batches, recorder.seconds) == pytest.approx((20, 2, 2.0))


def test_latency_is_that_of_batches_that_were_due_within_and_answered_at_any_time() -> None:
    recorder = Recorder()
    recorder.begin(1.0, 2.0, due_since=1.0)
    done(recorder, 0.5, 1.2)
    done(recorder, 1.5, 1.6)
    recorder.end(3.0, due_until=2.0)
    done(recorder, 1.9, 4.9)
    done(recorder, 2.1, 5.0)
    assert recorder.quantiles()[TOTAL].max == pytest.approx(3.0)
    assert recorder.latencies[TOTAL].count == 2
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
    buckets = latencies.buckets()
    assert sum(count for _, count in buckets) == len(values)
    assert buckets[-1][0] >= 0.99 * max(values)


def test_each_second_has_its_speed_and_latencies_and_a_late_answer_belongs_to_the_last() -> None:
    recorder = Recorder()
    recorder.begin(10.0, 3.0)
    for now in (10.2, 10.4, 12.1, 12.2):
        done(recorder, now - 0.1, now)
    recorder.end(13.0, due_until=13.0)
    done(recorder, 12.9, 15.0)
    total = recorder.quantiles()[TOTAL]
    first, second, third = recorder.per_second
    assert (first.hashes_per_second, second.hashes_per_second, third.hashes_per_second) == pytest.approx((20, 0, 20))
    assert (first.p99, second.p99, third.p99, total.max) == pytest.approx((0.1, 0, 2.1, 2.1), rel=1e-3)


def test_a_number_of_batches_ends_the_measurement_exactly_there() -> None:
    full: list[int] = []
    recorder = Recorder(3, lambda: full.append(recorder.batches))
    done(recorder, 0.0, 0.5)
    recorder.begin(1.0, math.inf)
    for now in (1.25, 1.5, 1.75, 2.0):
        done(recorder, now - 0.1, now)
    recorder.end(9.0, due_until=-math.inf)
    assert (recorder.batches, full) == (3, [3])
    assert recorder.seconds == pytest.approx(1.25)
    assert recorder.quantiles()[TOTAL].max == pytest.approx(0.1)
    assert [each.hashes_per_second for each in recorder.per_second] == pytest.approx([40])


def test_the_view_shows_the_point_its_speed_latency_and_errors_and_the_time_left() -> None:
    recorder = Recorder()
    recorder.begin(0.0, 10.0)
    done(recorder, 0.9, 0.95)
    recorder.advance(1.5)
    trial = SimpleNamespace(recorder=recorder, part_done=0.5, error_count=3)
    console = Console(force_terminal=True, file=io.StringIO(), width=60)
    progress = Progress(console, 2, 10.0)
    progress.begin(point(), cast("Trial", trial))
    with console.capture() as captured:
        console.print(progress._view())
    first, second, bars = captured.get().splitlines()
    assert first.startswith("run 1 of 2, 0:00 left: stream, batch 256")
    assert re.fullmatch(r"[0-9,]+ hashes/s, p50 (50.0|49.9).* ms, p99 .* ms, errors: 3", second.strip())
    assert "█" in bars
