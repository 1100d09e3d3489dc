"""How batches are retried and hedged, and how replicas are ejected; streams are the test's, time is virtual."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import grpc
import pytest
from structlog.testing import capture_logs
from support.fake_streams import response, stream_to

from chassis.telemetry.rpc_metrics import RpcMetrics
from worker_svc.batch import Batch
from worker_svc.pool.endpoint import Stream, StreamBroken
from worker_svc.pool.pool import IDLE_LOOKUP_INTERVAL_S, Pool
from worker_svc.replica import READMISSION_DELAY_S
from worker_svc.retry import INITIAL_HEDGING_DELAY_S, MIN_HEDGING_DELAY_S, Hedging, PeakEwma, Reason
from worker_svc.stage import HASHER, RNG, HasherStage, Stage


def observe(replica: PeakEwma, latency: float) -> None:
    replica.batches += 1
    replica.latency_s += latency


def delay_after(rounds: list[list[float]]) -> float:
    """Return the hedging delay after rounds of 0.1 s in which each replica completed a batch with this latency."""
    hedging = Hedging(8)
    replicas = [PeakEwma() for _ in rounds[0]] if rounds else []
    for number, latencies in enumerate(rounds):
        for replica, latency in zip(replicas, latencies, strict=True):
            observe(replica, latency)
        hedging.update(replicas, number / 10)
    return hedging.delay


@pytest.mark.parametrize(
    ("rounds", "delay"),
    [
        ([], INITIAL_HEDGING_DELAY_S),
        ([[0.001]], 0.5),
        ([[1.0]] * 100, 4),
        ([[0.2]] * 100 + [[2.0]], 2 * 4),
        ([[2.0]] * 100 + [[0.2]] * 10, (0.2 + 1.8 / math.e) * 4),
        ([[2.0]] * 100 + [[0.2]] * 100, 0.2 * 4),
    ],
)
def test_the_delay_is_four_times_the_usual_latency_which_falls_slowly(rounds: list[list[float]], delay: float) -> None:
    assert delay_after(rounds) == pytest.approx(delay, rel=0.01)


@pytest.mark.parametrize("replicas", [2, 3, 4, 10])
def test_one_slow_replica_does_not_raise_the_delay(replicas: int) -> None:
    assert delay_after([[0.2] * (replicas - 1) + [5.0]] * 10) == pytest.approx(0.2 * 4)


def test_a_replica_that_joins_with_an_empty_queue_does_not_lower_the_delay_at_once() -> None:
    hedging, one, joined = Hedging(8), PeakEwma(), PeakEwma()
    for number in range(5):
        observe(one, 1.0)
        hedging.update([one], number / 10)
    observe(joined, 0.1)
    hedging.update([one, joined], 0.5)
    assert hedging.delay > 0.9 * 4


def test_one_batch_in_twenty_may_be_hedged_and_a_window_of_hedges_is_saved_up() -> None:
    hedging, replica, hedged = Hedging(8), PeakEwma(), 0
    for number in range(1_000):
        observe(replica, 0.1)
        hedging.update([replica], number / 10)
        hedged += hedging.take_token()
    assert hedged == pytest.approx(50, abs=1)
    replica.batches = 1_000
    hedging.update([replica], 100)
    assert [hedging.take_token() for _ in range(9)] == [True] * 8 + [False]


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
        self.responses: dict[Batch, asyncio.Future[memoryview]] = {}
        self.sent = 0

    def join(self, *replicas: str) -> list[Stream]:
        streams = [stream_to(name) for name in replicas]
        for stream in streams:
            self.pool._join(stream)
        return streams

    def submit(self, batches: int = 1) -> Batch:
        for _ in range(batches):
            self.sent += 1
            batch = Batch(self.sent, 1, 32, 0.0, b"")
            self.responses[batch] = response(self.pool, batch)
        return batch

    def respond(self, stream: Stream, data: bytes = b"") -> None:
        self.pool._complete(stream, next(iter(stream.outstanding.values())), memoryview(data))

    def warm_up(self, *streams: Stream) -> None:
        """Learn that a latency of nothing is usual, and save up for hedges."""
        for _ in range(100):
            self.submit()
            [stream] = [each for each in streams if each.outstanding]
            self.respond(stream)


def events(lines: list[Any]) -> list[str]:
    """Return all events but the changes of replicas."""
    return [line["event"] for line in lines if not line["event"].startswith("using ")]


@pytest.fixture(autouse=True)
async def _log_has_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=asyncio.get_running_loop().time, time=time.time)
    monkeypatch.setattr("chassis.log.time", clock)


@pytest.fixture
async def sending() -> AsyncIterator[Sending]:
    sending = Sending()
    tasks = [asyncio.create_task(each) for each in (sending.pool._check(), sending.pool._log())]
    yield sending
    for task in tasks:
        task.cancel()


async def test_a_batch_over_the_hedging_delay_is_sent_to_one_other_replica_and_the_first_response_wins(
    sending: Sending,
) -> None:
    waits = [sending.pool.waiting]
    with capture_logs() as lines:
        streams = sending.join("a", "b", "c")
        sending.warm_up(*streams)
        batch = sending.submit()
        waits.append(sending.pool.waiting)
        await asyncio.sleep(2 * MIN_HEDGING_DELAY_S)
    assert [*waits, sending.pool.waiting] == [True, False, True]
    assert events(lines)[-1] == "over the hedging delay, sent to a second replica"
    assert sending.pool.hedges == 1
    await asyncio.sleep(20)
    one, other = [stream for stream in streams if stream.outstanding]
    sending.respond(one, b"first")
    sending.respond(other, b"second")
    assert bytes(sending.responses[batch].result()) == b"first"


async def test_a_batch_is_retried_when_both_replicas_that_had_it_are_gone(sending: Sending) -> None:
    streams = sending.join("a", "b", "c")
    sending.warm_up(*streams)
    sending.submit()
    await asyncio.sleep(2 * MIN_HEDGING_DELAY_S)
    [spare] = [stream for stream in streams if not stream.outstanding]
    for stream in streams:
        if stream is not spare:
            sending.pool._end(stream, None)
    assert spare.outstanding.keys() == {sending.sent}
    assert (sending.pool.retries[Reason.BROKEN], sending.pool.hedges) == (1, 1)
    sending.join("d")
    await asyncio.sleep(2 * MIN_HEDGING_DELAY_S)
    assert sending.pool.hedges == 2


async def test_a_batch_is_hedged_again_when_one_of_its_two_streams_breaks(sending: Sending) -> None:
    streams = sending.join("a", "b", "c")
    sending.warm_up(*streams)
    sending.submit()
    await asyncio.sleep(2 * MIN_HEDGING_DELAY_S)
    [spare] = [stream for stream in streams if not stream.outstanding]
    sending.pool._end(next(stream for stream in streams if stream.outstanding), None)
    await asyncio.sleep(2 * MIN_HEDGING_DELAY_S)
    assert (len(spare.outstanding), sending.pool.hedges, sending.pool.retries.total()) == (1, 2, 0)


@pytest.mark.parametrize("replicas", ["ab", "abc", "abcd"])
async def test_batches_of_the_one_slow_replica_are_hedged(sending: Sending, replicas: str) -> None:
    slow, *others = sending.join(*replicas)
    for _ in range(40):
        sending.submit(len(replicas))
        await asyncio.sleep(0.1)
        for stream in others:
            while stream.outstanding:
                sending.respond(stream)
        await asyncio.sleep(2)
        while slow.outstanding:
            sending.respond(slow)
    assert sending.pool.hedges == pytest.approx(sending.sent / 20, abs=2)


async def test_when_all_are_slow_only_the_budget_is_hedged(sending: Sending) -> None:
    one, other = sending.join("a", "b")
    sending.warm_up(one, other)
    for _ in range(100):
        sending.submit(4)
        await asyncio.sleep(4)
        for stream in (one, other):
            while stream.outstanding:
                sending.respond(stream)
    assert 0 < sending.pool.hedges <= sending.sent / 20 + 1


@pytest.mark.parametrize(
    ("replicas", "is_warm", "first_s"), [("a", True, MIN_HEDGING_DELAY_S), ("ab", False, INITIAL_HEDGING_DELAY_S)]
)
async def test_a_batch_that_can_not_be_hedged_is_logged_again_and_again(
    sending: Sending, replicas: str, first_s: float, *, is_warm: bool
) -> None:
    """There is no other replica, or no latency is usual yet."""
    streams = sending.join(*replicas)
    if is_warm:
        sending.warm_up(*streams)
    sending.submit()
    with capture_logs() as lines:
        await asyncio.sleep(10)
    assert events(lines) == ["no response yet"] * 2
    seconds = [line["seconds"] for line in lines if "seconds" in line]
    assert seconds == pytest.approx([first_s, first_s + 5], abs=0.6)
    assert not sending.pool.hedges


async def test_what_is_outstanding_on_a_broken_stream_is_retried_before_anything_newer(sending: Sending) -> None:
    [broken] = sending.join("a")
    sending.submit(9)  # one waits, for a stream takes twice the window at most
    sending.pool._end(broken, None)
    [good] = sending.join("b")
    assert list(good.outstanding) == list(range(1, 9))


async def test_a_retry_goes_to_another_replica_if_one_has_room(sending: Sending) -> None:
    """A batch that breaks every server that gets it would otherwise meet the same one again and again."""
    [broken] = sending.join("a")
    sending.submit(2)
    _, other = sending.join("a", "b")
    sending.submit(2)
    sending.pool._end(broken, None)
    assert list(other.outstanding) == [3, 4, 1, 2]


async def test_a_response_to_a_batch_that_was_dropped_is_ignored(sending: Sending) -> None:
    """When a worker stops, its streams end after its pipeline."""
    [stream] = sending.join("a")
    sending.responses[sending.submit()].cancel()
    sending.respond(stream)
    sending.submit()
    assert len(stream.outstanding) == 1


async def test_a_wrong_digest_ejects_its_replica_until_its_streams_have_ended() -> None:
    sending = Sending(HasherStage(lambda _batch, _digests: ()))
    [lying] = sending.join("lying")
    trace = sending.submit(2).trace = Mock()
    sending.respond(lying, b"wrong")
    assert sending.pool.picker.ejected == ["lying"]
    [good] = sending.join("good")
    assert list(good.outstanding) == [1, 2]
    trace.sent.assert_called_once_with("hasher", "good", Reason.WRONG_DIGEST)
    sending.respond(lying)
    assert not any(response.done() for response in sending.responses.values())
    sending.pool._end(lying, None)
    [back] = sending.join("lying")
    assert sending.pool.picker.ejected == ["lying"]  # its connection may have been lost alone
    sending.pool._end(back, None)
    await asyncio.sleep(READMISSION_DELAY_S + 0.1)
    sending.join("lying")
    assert sending.pool.picker.ejected == []
    assert sending.pool.replicas == ["good", "lying"]


async def test_why_there_is_no_endpoint_is_logged_within_five_seconds_and_again() -> None:
    sending = Sending(HASHER)
    sending.pool._resolver.failure = "nowhere: not found"
    with capture_logs() as lines:
        logging = asyncio.create_task(sending.pool._log())
        await asyncio.sleep(20)
        logging.cancel()
    absent: Any = [line for line in lines if line["event"] == "no endpoint, still trying"]
    assert [line["seconds"] for line in absent] == pytest.approx([3, 8, 13, 18], abs=1)
    assert absent[0]["details"] == "nowhere: not found"


async def test_replicas_that_join_and_leave_share_a_line_a_second_at_most(sending: Sending) -> None:
    with capture_logs() as lines:
        streams = sending.join("a", "b")
        await asyncio.sleep(1.5)
        for stream in streams:
            sending.pool._end(stream, StreamBroken(grpc.StatusCode.UNAVAILABLE, "gone"))
        [_, b] = sending.join("c", "b")
        await asyncio.sleep(2)
        sending.pool._end(b, None)
        sending.join("b")
        await asyncio.sleep(2)
    [first, broken, second] = lines
    assert (first["event"], second["event"]) == ("using 2 rngs: a, b", "using 2 rngs: b, c")
    assert (broken["event"], broken["times"]) == ("stream broken", 2)


async def test_names_are_looked_up_each_second_more_often_when_an_endpoint_is_missed_and_less_often_when_idle() -> None:
    sending = Sending()
    resolve = AsyncMock(return_value=[])
    resolver: Any = SimpleNamespace(target="rng:50051", file=None, failure="not found", resolve=resolve)
    sending.pool._resolver = resolver
    following = asyncio.create_task(sending.pool._resolve_periodically())

    async def seconds_each(seconds: float) -> float:
        before = resolver.resolve.await_count
        await asyncio.sleep(seconds)
        return float(seconds / (resolver.resolve.await_count - before))

    absent = await seconds_each(20)
    resolver.resolve.return_value = ["ipv4:10.0.0.1:50051"]
    endpoint: Any = SimpleNamespace(serving=True, left=asyncio.Event(), certificates=None)
    sending.pool._endpoints = {"ipv4:10.0.0.1:50051": endpoint}
    sending.pool._found = {"ipv4:10.0.0.1:50051"}
    [stream] = sending.join("a")
    await asyncio.sleep(1)
    idle = await seconds_each(300)
    sending.submit()
    served = await seconds_each(20)
    sending.pool._end(stream, None)
    lost = await seconds_each(10)
    assert [absent, idle, served, lost] == pytest.approx([0.25, IDLE_LOOKUP_INTERVAL_S, 1, 0.25], rel=0.1)
    following.cancel()
