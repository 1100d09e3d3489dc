"""When a batch is over the hedging delay, and what is done then; streams are the test's, time is virtual."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.fake_streams import stream_to

from chassis.telemetry.rpc_metrics import RpcMetrics
from worker_svc.batch import Batch
from worker_svc.pool.endpoint import Attempt, Stream
from worker_svc.pool.pool import (
    FIRST_SLOW_S,
    HEDGING_BUDGET,
    HEDGING_DELAY_FACTOR,
    MIN_HEDGING_DELAY_S,
    READMISSION_DELAY_S,
    Hedging,
    Pool,
)
from worker_svc.stage import HASHER, RNG, HasherStage, Stage
from worker_svc.verification import WrongDigest

DATA = bytes(32)


def learned(*latencies: float) -> Hedging:
    hedging = Hedging(8)
    for latency in latencies:
        hedging.observe(latency)
    return hedging


@pytest.mark.parametrize(
    ("latencies", "delay"),
    [
        ([], FIRST_SLOW_S),
        ([0.001], MIN_HEDGING_DELAY_S),
        ([1.0] * 100, HEDGING_DELAY_FACTOR),
        ([0.2] * 100 + [2.0] * 200, 2 * HEDGING_DELAY_FACTOR),
    ],
)
def test_the_delay_is_several_times_the_usual_latency_and_bounded_below(latencies: list[float], delay: float) -> None:
    assert learned(*latencies).delay == pytest.approx(delay, rel=0.01)


def test_one_odd_latency_changes_little() -> None:
    assert learned(*[0.2] * 100, 2.0).delay < HEDGING_DELAY_FACTOR * 0.3


@pytest.mark.parametrize(("batches", "capacity", "hedges"), [(0, 8, 0), (1_000, 1_000, 50), (1_000, 3, 3)])
def test_the_budget_is_a_part_of_all_batches_and_saves_up_for_a_window(
    batches: int, capacity: int, hedges: int
) -> None:
    hedging = Hedging(capacity)
    for _ in range(batches):
        hedging.earn()
    assert sum(hedging.spend() for _ in range(100)) == pytest.approx(hedges, abs=1)


class Sending:
    """A pool that runs, on streams of the test's; it looks up nothing, for it has no address."""

    def __init__(self, stage: Stage = RNG) -> None:
        self.pool = Pool(
            stage,
            "ipv4:127.0.0.1:1",
            client_id="client",
            window=4,
            max_endpoints=64,
            metrics=RpcMetrics("client"),
            on_change=lambda: None,
        )
        self.done: list[int] = []
        self.pool.on_answer = lambda batch: self.done.append(batch.id)
        self.sent = 0

    def join(self, *replicas: str) -> list[Stream]:
        streams = [stream_to(name) for name in replicas]
        for stream in streams:
            self.pool.joined(stream)
        return streams

    def submit(self, batches: int = 1) -> None:
        for _ in range(batches):
            self.sent += 1
            self.pool.submit(Batch(self.sent, 1, 32, 0.0, DATA))

    def respond(self, stream: Stream) -> None:
        batch_id = next(iter(stream.outstanding))
        attempt: Attempt = stream.outstanding.pop(batch_id)
        self.pool.completed(stream, attempt, memoryview(DATA))

    def warm_up(self, *streams: Stream) -> None:
        """Learn that a latency of nothing is usual, and save up for hedges."""
        for _ in range(100):
            self.submit()
            [stream] = [each for each in streams if each.outstanding]
            self.respond(stream)


@pytest.fixture
async def sending() -> AsyncIterator[Sending]:
    sending = Sending()
    checking = asyncio.create_task(sending.pool._check())
    yield sending
    checking.cancel()


async def test_a_batch_over_the_hedging_delay_is_sent_to_a_second_replica_and_the_first_response_wins(
    sending: Sending,
) -> None:
    one, other = sending.join("a", "b")
    sending.warm_up(one, other)
    sending.submit()
    await asyncio.sleep(2 * MIN_HEDGING_DELAY_S)
    assert len(one.outstanding) == len(other.outstanding) == sending.pool.hedges == 1
    sending.respond(one)
    sending.respond(other)
    assert sending.done.count(sending.sent) == 1


async def test_a_batch_is_hedged_once(sending: Sending) -> None:
    streams = sending.join("a", "b", "c")
    sending.warm_up(*streams)
    sending.submit()
    await asyncio.sleep(20)
    assert sum(len(stream.outstanding) for stream in streams) == 2


async def test_a_batch_is_retried_when_both_replicas_that_had_it_are_gone(sending: Sending) -> None:
    streams = sending.join("a", "b", "c")
    sending.warm_up(*streams)
    sending.submit()
    await asyncio.sleep(2 * MIN_HEDGING_DELAY_S)
    [spare] = [stream for stream in streams if not stream.outstanding]
    for stream in streams:
        if stream is not spare:
            sending.pool.ended(stream, None)
    assert spare.outstanding.keys() == {sending.sent}
    assert (sending.pool.retries["broken"], sending.pool.hedges) == (1, 1)
    sending.join("d")
    await asyncio.sleep(2 * MIN_HEDGING_DELAY_S)
    assert sending.pool.hedges == 2


async def test_when_all_are_slow_only_the_budget_is_hedged(sending: Sending) -> None:
    one, other = sending.join("a", "b")
    sending.warm_up(one, other)
    for _ in range(100):
        sending.submit(4)
        await asyncio.sleep(4)
        for stream in (one, other):
            while stream.outstanding:
                sending.respond(stream)
    assert 0 < sending.pool.hedges <= HEDGING_BUDGET * sending.sent + 1


async def test_a_batch_that_no_other_replica_can_take_is_sent_once_and_logged(sending: Sending) -> None:
    [only] = sending.join("a")
    sending.warm_up(only)
    sending.submit(2)
    with capture_logs() as lines:
        await asyncio.sleep(12)
    assert len(only.outstanding) == 2
    slow = [line for line in lines if line["event"] == "no response yet"]
    assert [line["seconds"] for line in slow] == pytest.approx([0.5, 5.5, 10.5], abs=0.6)
    assert (slow[0]["replica"], slow[0]["batches"]) == ("a", 2)


async def test_the_very_first_batch_is_logged_too(sending: Sending) -> None:
    sending.join("a", "b")
    sending.submit()
    with capture_logs() as lines:
        await asyncio.sleep(FIRST_SLOW_S + 1)
    assert [line["event"] for line in lines].count("no response yet") == 1
    assert not sending.pool.hedges


async def test_what_is_outstanding_on_a_broken_stream_is_retried_elsewhere_before_anything_newer(
    sending: Sending,
) -> None:
    [broken] = sending.join("a")
    sending.submit(9)  # one waits, for a stream takes twice the window at most
    sending.pool.ended(broken, None)
    [good] = sending.join("b")
    assert list(good.outstanding) == list(range(1, 9))


async def test_a_wrong_digest_ejects_its_replica_until_its_streams_have_ended() -> None:
    sending = Sending(HasherStage(lambda _batch, _digests: WrongDigest(0, "aa", "bb")))
    [lying] = sending.join("lying")
    sending.submit(2)
    sending.respond(lying)
    assert sending.pool.ejected == ["lying"]
    assert not sending.done
    [good] = sending.join("good")
    assert list(good.outstanding) == [1, 2]
    sending.respond(lying)  # which is ignored
    sending.pool.ended(lying, None)
    [back] = sending.join("lying")
    assert sending.pool.ejected == ["lying"]  # its connection may have been lost alone
    sending.pool.ended(back, None)
    await asyncio.sleep(READMISSION_DELAY_S + 0.1)
    sending.join("lying")
    assert sending.pool.ejected == []
    assert sending.pool.replicas == ["good", "lying"]


async def test_why_there_is_no_endpoint_is_logged_within_five_seconds_and_again() -> None:
    sending = Sending(HASHER)
    sending.pool._unresolved = "nowhere: not found"
    with capture_logs() as lines:
        checking = asyncio.create_task(sending.pool._check())
        await asyncio.sleep(20)
        checking.cancel()
    absent: Any = [line for line in lines if line["event"] == "no endpoint, still trying"]
    assert [line["seconds"] for line in absent] == pytest.approx([3, 8, 13, 18], abs=1)
    assert absent[0]["details"] == "nowhere: not found"
