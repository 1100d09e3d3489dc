import asyncio
import contextlib
from functools import partial
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry
from support.virtual_time import freeze, now

from chassis.grpc_server.loop_share import STALLED, LoopShare
from chassis.grpc_server.pacing import MAX_CATCH_UP, Pacing
from chassis.timing import TIMER_SLACK_S
from hasher_svc.metrics import HasherMetrics
from rng_svc.metrics import RngMetrics

DELAY = 0.1
PEER = "ipv4:10.0.0.3:4711"

near = partial(pytest.approx, abs=1.5 * TIMER_SLACK_S)


async def turn(pacing: Pacing, work: float = 0.0) -> float:
    """Take a turn; the loop's time when it was over."""
    async with pacing.turn(PEER):
        await asyncio.sleep(work)
    return now()


@pytest.mark.parametrize(("delay", "work"), [(DELAY, 0.0), (0.0, DELAY), (DELAY, DELAY / 2)])
@pytest.mark.parametrize(("concurrency", "ends"), [(1, range(1, 7)), (2, [1, 1, 2, 2, 3, 3]), (0, [1] * 6)])
async def test_as_many_as_the_concurrency_are_served_at_once_and_the_others_one_after_another(
    delay: float, work: float, concurrency: int, ends: list[int]
) -> None:
    pacing, begin = Pacing(delay, concurrency), now()
    found = await asyncio.gather(*(turn(pacing, work) for _ in ends))
    assert [end - begin for end in found] == near([number * DELAY for number in ends])


@pytest.mark.parametrize(("connections", "ours"), [(1, PEER), (20, PEER), (1, "ipv4:10.0.0.1:4711")])
async def test_who_has_many_requests_waiting_holds_up_nobody_else_for_more_than_one(
    connections: int, ours: str
) -> None:
    """Neither another address nor another connection of the same one."""
    pacing, served = Pacing(0.01, 1), list[bool]()

    async def one(peer: str) -> None:
        async with pacing.turn(peer):
            served.append(peer == ours)

    greedy = [asyncio.create_task(one(f"ipv4:10.0.0.1:{number % connections}")) for number in range(20)]
    await asyncio.sleep(0)
    for _ in range(3):
        await one(ours)
    # The greedy one's turn that was on, and then ours, each time.
    assert served == [False, True] * 3
    await asyncio.gather(*greedy)


async def test_at_full_pace_four_at_a_time_have_the_event_loop_and_the_others_come_in_turn() -> None:
    pacing = Pacing(0, 0)
    greedy = [pacing.attention(f"ipv4:10.0.0.1:{number}") for number in range(6)]
    assert [each.take() for each in greedy] == [True] * 4 + [False] * 2
    *waiting, ours = (asyncio.create_task(each.wait()) for each in (*greedy[4:], pacing.attention(PEER)))
    await asyncio.sleep(0)
    assert pacing.waiting == 3
    greedy[0].give()
    await asyncio.sleep(0)
    assert [each.done() for each in (*waiting, ours)] == [False, False, True]
    await asyncio.sleep(3 * STALLED)  # the others give nothing back: their clients read slowly
    assert all(each.done() for each in waiting)
    with_delay = Pacing(DELAY, 1)
    assert all(with_delay.attention(PEER).take() for _ in range(9))


async def test_a_request_knows_how_long_it_waited() -> None:
    pacing = Pacing(DELAY, 1)
    holder = asyncio.create_task(turn(pacing))
    await asyncio.sleep(DELAY / 4)
    async with pacing.turn(PEER) as waited:
        assert waited.waited == near(DELAY * 3 / 4)
    await holder


@pytest.mark.parametrize("pause", [0.0, 3 * DELAY], ids=["busy", "idle"])
async def test_one_client_after_another_gets_no_more_than_the_pace(pause: float) -> None:
    pacing = Pacing(DELAY, 1)
    await turn(pacing)
    await asyncio.sleep(pause)
    begin = now()
    assert [await turn(pacing) - begin for _ in range(3)] == near([DELAY, 2 * DELAY, 3 * DELAY])


async def test_a_cancelled_waiter_costs_the_others_nothing_and_leaves_nothing_behind() -> None:
    pacing = Pacing(DELAY, 1)
    _, *waiters, last = (asyncio.create_task(turn(pacing)) for _ in range(5))
    await asyncio.sleep(0)
    assert pacing.waiting == 4
    for waiter in waiters:
        waiter.cancel()
    await asyncio.wait(waiters)
    assert pacing.waiting == 1
    assert await last == near(2 * DELAY)


async def test_the_metrics_of_servers_have_their_work_and_who_waits() -> None:
    pacing = Pacing(DELAY, 1)
    turns = [asyncio.create_task(turn(pacing)) for _ in range(3)]
    await asyncio.sleep(0)
    for name, done, metrics in (("rng", "bytes", RngMetrics), ("hasher", "hashes", HasherMetrics)):
        registry = CollectorRegistry()
        registry.register(metrics(Mock(bytes_served=7, hashes=7), pacing))
        for what, value in ((f"{done}_total", 7), ("waiting_requests", 2)):
            assert registry.get_sample_value(f"dockercoins_{name}_{what}") == value
    await asyncio.gather(*turns)


async def test_at_full_pace_the_event_loop_begins_four_batches_at_a_time_and_clients_take_turns() -> None:
    share, begun = LoopShare(), list[str]()

    async def one(peer: str) -> None:
        attention = share.attention(peer)
        if not attention.take():
            await attention.wait()
        begun.append(peer)
        await asyncio.sleep(0.01)
        attention.give()

    batches = [asyncio.create_task(one(peer)) for peer in (*["ipv4:10.0.0.1:1"] * 20, PEER, PEER)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(begun) == 4
    await asyncio.gather(*batches)
    assert begun[4:6] == [PEER, PEER]


async def test_a_waiter_cancelled_as_its_place_comes_passes_it_on_as_does_work_that_fails() -> None:
    pacing = Pacing(0, 1)
    with contextlib.suppress(ValueError):
        async with pacing.turn(PEER):
            waiter, last = asyncio.create_task(turn(pacing)), asyncio.create_task(turn(pacing))
            await asyncio.sleep(0)
            raise ValueError("broken")
    waiter.cancel()
    await last
    assert waiter.cancelled()


async def test_requests_that_gave_up_leave_no_debt() -> None:
    """Ten people try a slow server and press Ctrl-C, one after another; whoever is next waits for nobody."""
    pacing = Pacing(DELAY, 1)
    holder = asyncio.create_task(turn(pacing))
    for _ in range(10):
        waiter = asyncio.create_task(turn(pacing))
        await asyncio.sleep(0.01)
        holder.cancel()
        holder = waiter
    assert await holder == near(10 * 0.01 + DELAY)


async def test_a_backlog_is_not_answered_at_once_after_a_freeze() -> None:
    delay = 0.2
    pacing = Pacing(delay, 1)
    turns = [asyncio.create_task(turn(pacing)) for _ in range(5)]
    await asyncio.sleep(delay / 2)
    freeze(6 * delay)  # every one of the turns should have ended by now
    thawed = now()
    ends = [end - thawed for end in await asyncio.gather(*turns)]
    assert ends == near([0, *(number * delay - MAX_CATCH_UP for number in range(1, 5))])
