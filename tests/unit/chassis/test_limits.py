import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from unittest.mock import Mock

import pytest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, GetRandomBytesResponse
from support.virtual_time import freeze, now

import rng_svc.service
from chassis.grpc_server import interceptor
from chassis.grpc_server.interceptor import ServiceInterceptor
from chassis.grpc_server.limits import MAX_CATCH_UP_S, WRITE_LEASE_S, ConcurrencyLimiter, RateLimiter
from chassis.health import Health
from chassis.settings import Pace
from chassis.telemetry import Telemetry
from chassis.timing import TIMER_SLACK_S
from rng_svc.settings import RngSettings

DELAY = 0.1
PEER = "ipv4:10.0.0.3:4711"

near = partial(pytest.approx, abs=1.5 * TIMER_SLACK_S)


async def request(limiter: ConcurrencyLimiter, work: float = 0.0, peer: str = PEER) -> float:
    """Take a slot for this work; return the loop's time when it was over."""
    slot = await limiter.acquire(peer)
    try:
        await asyncio.sleep(work)
        await limiter.complete(slot)
        return now()
    finally:
        limiter.release(slot)


@pytest.mark.parametrize(
    ("limiter_of", "work"),
    [(ConcurrencyLimiter, DELAY), (partial(RateLimiter, DELAY), 0.0), (partial(RateLimiter, DELAY), DELAY / 2)],
)
@pytest.mark.parametrize(("concurrency", "ends"), [(1, range(1, 7)), (2, [1, 1, 2, 2, 3, 3]), (0, [1] * 6)])
async def test_as_many_as_the_concurrency_are_served_at_once_and_the_others_one_after_another(
    limiter_of: Callable[[int], ConcurrencyLimiter], work: float, concurrency: int, ends: list[int]
) -> None:
    limiter, begin = limiter_of(concurrency), now()
    found = await asyncio.gather(*(request(limiter, work) for _ in ends))
    assert [end - begin for end in found] == near([number * DELAY for number in ends])


@pytest.mark.parametrize(("connections", "ours"), [(1, PEER), (20, PEER), (1, "ipv4:10.0.0.1:4711")])
async def test_a_client_with_many_waiting_requests_delays_others_by_one_at_most(connections: int, ours: str) -> None:
    """Neither another address nor another connection of the same one."""
    limiter, served = RateLimiter(0.01, 1), list[bool]()

    async def one(peer: str) -> None:
        await request(limiter, peer=peer)
        served.append(peer == ours)

    others = [asyncio.create_task(one(f"ipv4:10.0.0.1:{number % connections}")) for number in range(20)]
    await asyncio.sleep(0)
    for _ in range(3):
        await one(ours)
    # The slot that the other one held, and then ours, each time.
    assert served == [False, True] * 3
    await asyncio.gather(*others)


async def test_a_request_reports_how_long_it_waited() -> None:
    limiter = RateLimiter(DELAY, 1)
    holder = asyncio.create_task(request(limiter))
    await asyncio.sleep(DELAY / 4)
    slot = await limiter.acquire(PEER)
    assert slot.acquired_at - slot.arrived_at == near(DELAY * 3 / 4)
    await holder


@pytest.mark.parametrize("pause", [0.0, 3 * DELAY], ids=["busy", "idle"])
async def test_one_client_after_another_gets_no_more_than_the_pace(pause: float) -> None:
    limiter = RateLimiter(DELAY, 1)
    await request(limiter)
    await asyncio.sleep(pause)
    begin = now()
    assert [await request(limiter) - begin for _ in range(3)] == near([DELAY, 2 * DELAY, 3 * DELAY])


async def test_a_cancelled_waiter_costs_the_others_nothing_and_leaves_nothing_behind() -> None:
    limiter = RateLimiter(DELAY, 1)
    _, *waiters, last = (asyncio.create_task(request(limiter)) for _ in range(5))
    await asyncio.sleep(0)
    assert limiter.waiting == 4
    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)
    assert limiter.waiting == 1
    assert await last == near(2 * DELAY)


async def test_the_event_loop_begins_four_batches_at_a_time_and_clients_take_turns() -> None:
    limiter, begun = ConcurrencyLimiter(4), list[str]()

    async def one(peer: str) -> None:
        slot = await limiter.acquire(peer)
        begun.append(peer)
        await asyncio.sleep(0.01)
        limiter.release(slot)

    batches = [asyncio.create_task(one(peer)) for peer in (*["ipv4:10.0.0.1:1"] * 20, PEER, PEER)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (len(begun), limiter.waiting) == (4, 18)
    await asyncio.gather(*batches)
    assert begun[4:6] == [PEER, PEER]


async def test_the_wait_for_the_event_loop_counts_as_waiting() -> None:
    settings = RngSettings(pace=Pace.FULL, concurrency=16)
    served = ServiceInterceptor(rng_svc.service.SERVICE, settings, Telemetry(Health()), lambda *_: "", None)
    handler = Mock(request_deserializer=GetRandomBytesRequest.FromString)
    waited = list[float]()

    async def message() -> AsyncIterator[bytes]:
        yield GetRandomBytesRequest(size=1).SerializeToString()

    async def call() -> None:
        context = Mock(peer=lambda: PEER, invocation_metadata=lambda: ())
        one = interceptor._Call(served, f"/{rng_svc.service.SERVICE}/GetRandomBytes", handler, context)
        async for _ in one.requests(message()):
            waited.append(one._waited_s)
            await asyncio.sleep(0.01)
            await one.respond(GetRandomBytesResponse())
        one.end()

    await asyncio.gather(*(call() for _ in range(9)))
    assert waited == pytest.approx([0.0] * 4 + [0.01] * 4 + [0.02], abs=0.005)


async def test_a_stream_whose_client_reads_slowly_does_not_hold_up_others() -> None:
    limiter = ConcurrencyLimiter(4, WRITE_LEASE_S)
    waiting = [asyncio.create_task(limiter.acquire(PEER)) for _ in range(9)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    await asyncio.sleep(0)
    assert limiter.waiting == 4
    await asyncio.sleep(3 * WRITE_LEASE_S)  # none is released
    assert all(each.done() for each in waiting)


async def test_a_waiter_cancelled_as_its_slot_comes_passes_it_on() -> None:
    limiter = ConcurrencyLimiter(1)
    slot = await limiter.acquire(PEER)
    waiter, last = asyncio.create_task(request(limiter)), asyncio.create_task(request(limiter))
    await asyncio.sleep(0)
    limiter.release(slot)
    waiter.cancel()
    await last
    assert waiter.cancelled()


async def test_requests_that_gave_up_leave_no_debt() -> None:
    """Ten people try a slow server and press Ctrl-C, one after another; the next one does not wait for them."""
    limiter = RateLimiter(DELAY, 1)
    holder = asyncio.create_task(request(limiter))
    for _ in range(10):
        waiter = asyncio.create_task(request(limiter))
        await asyncio.sleep(0.01)
        holder.cancel()
        holder = waiter
    assert await holder == near(10 * 0.01 + DELAY)


async def test_a_backlog_is_not_answered_at_once_after_a_freeze() -> None:
    delay = 0.2
    limiter = RateLimiter(delay, 1)
    requests = [asyncio.create_task(request(limiter)) for _ in range(5)]
    await asyncio.sleep(delay / 2)
    freeze(6 * delay)  # every request should have ended by now
    thawed = now()
    ends = [end - thawed for end in await asyncio.gather(*requests)]
    assert ends == near([0, *(number * delay - MAX_CATCH_UP_S for number in range(1, 5))])
