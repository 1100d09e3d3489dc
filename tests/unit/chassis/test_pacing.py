import asyncio
import time
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

import pytest

from chassis.grpc_server.pacing import MAX_CATCH_UP, Pacing
from chassis.timer import sleep_until

pytestmark = pytest.mark.alone(reason="times are measured to hundredths of a second")

DELAY = 0.08
LATE = 0.06
"""Seconds that a busy machine may be late."""
PEER = "ipv4:10.0.0.3:4711"
EARLY = 0.002
"""Seconds that a turn ends early, because waking takes time too."""


async def turn(pacing: Pacing, work: float = 0.0) -> float:
    """Take a turn; the loop's time when it was over."""
    async with pacing.turn(PEER):
        if work:
            await asyncio.sleep(work)
    return asyncio.get_running_loop().time()


async def ends_of(*turns: Coroutine[Any, Any, float]) -> list[float]:
    """When each of these was over, in seconds from now."""
    begin = asyncio.get_running_loop().time()
    return [end - begin for end in await asyncio.gather(*turns)]


async def test_ten_requests_at_a_serial_service_take_exactly_their_sum() -> None:
    pacing = Pacing(DELAY, 1)
    ends = await ends_of(*(turn(pacing) for _ in range(10)))
    for number, end in enumerate(ends, 1):
        assert number * DELAY - EARLY <= end <= number * DELAY + LATE


async def test_late_timers_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    lateness = MAX_CATCH_UP / 2

    async def late(deadline: float) -> None:
        await sleep_until(deadline + lateness)

    monkeypatch.setattr("chassis.grpc_server.pacing.sleep_until", late)
    pacing = Pacing(0.02, 1)
    [*_, last] = await ends_of(*(turn(pacing) for _ in range(30)))
    assert 30 * 0.02 - EARLY <= last <= 30 * 0.02 + LATE < 30 * (0.02 + lateness)


async def test_requests_are_served_in_the_order_they_came() -> None:
    pacing, served = Pacing(0.001, 1), list[int]()

    async def one(number: int) -> None:
        async with pacing.turn(PEER):
            served.append(number)

    await asyncio.gather(*(one(number) for number in range(20)))
    assert served == list(range(20))


async def test_who_has_many_requests_waiting_holds_up_nobody_else_for_more_than_one() -> None:
    pacing, served = Pacing(0.01, 1), list[str]()

    async def one(peer: str) -> None:
        async with pacing.turn(peer):
            served.append(peer)

    greedy = [asyncio.create_task(one("ipv4:10.0.0.1:1")) for _ in range(20)]
    await asyncio.sleep(0)
    for _ in range(3):
        await one(PEER)
    # The greedy one's turn that was on, and then ours, each time.
    assert served == ["ipv4:10.0.0.1:1", PEER] * 3
    await asyncio.gather(*greedy)


async def test_many_connections_of_one_address_get_no_more_turns_than_one() -> None:
    pacing, served = Pacing(0.01, 1), list[str]()

    async def one(peer: str) -> None:
        async with pacing.turn(peer):
            served.append(peer)

    greedy = [asyncio.create_task(one(f"ipv4:10.0.0.1:{port}")) for port in range(20)]
    await asyncio.sleep(0)
    for _ in range(3):
        await one(PEER)
    assert len(served) == 6
    await asyncio.gather(*greedy)


async def test_a_cancelled_waiter_leaves_nothing_behind() -> None:
    pacing = Pacing(0, 1)
    async with pacing.turn(PEER):
        waiters = [asyncio.create_task(turn(pacing)) for _ in range(3)]
        await asyncio.sleep(0)
        assert pacing.waiting == 3
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)
        assert pacing.waiting == 0


async def test_one_client_after_another_gets_no_more_than_the_pace() -> None:
    pacing = Pacing(DELAY, 1)
    begin = asyncio.get_running_loop().time()
    for _ in range(5):
        end = await turn(pacing)
    assert 5 * DELAY - 5 * EARLY <= end - begin <= 5 * (DELAY + 0.005) + LATE


async def test_without_a_limit_all_are_served_at_once() -> None:
    ends = await ends_of(*(turn(pacing) for pacing in [Pacing(DELAY, 0)] for _ in range(100)))
    assert min(ends) >= DELAY - EARLY
    assert max(ends) <= DELAY + LATE


@pytest.mark.parametrize("concurrency", [2, 3])
async def test_no_more_than_the_concurrency_are_served_at_once(concurrency: int) -> None:
    pacing, now, most = Pacing(0, concurrency), 0, 0

    async def one() -> None:
        nonlocal now, most
        async with pacing.turn(PEER):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.001)
            now -= 1

    await asyncio.gather(*(one() for _ in range(10)))
    assert most == concurrency


async def test_a_turn_says_how_long_it_was_waited_for() -> None:
    pacing = Pacing(0.1, 1)
    waited = []

    async def one() -> None:
        async with pacing.turn(PEER) as turn:
            waited.append(turn.waited)

    await asyncio.gather(one(), one(), one())
    assert waited[0] < 0.01
    assert 0.1 - EARLY <= waited[1] <= 0.1 + LATE
    assert 0.2 - EARLY <= waited[2] <= 0.2 + LATE


async def test_two_at_a_time_halve_the_time() -> None:
    pacing = Pacing(DELAY, 2)
    ends = await ends_of(*(turn(pacing) for _ in range(6)))
    assert ends == pytest.approx([DELAY, DELAY, 2 * DELAY, 2 * DELAY, 3 * DELAY, 3 * DELAY], abs=LATE)
    assert ends[-1] >= 3 * DELAY - EARLY


async def test_the_wait_is_shortened_by_the_work() -> None:
    [end] = await ends_of(turn(Pacing(0.2, 1), work=0.15))
    assert 0.2 - EARLY <= end <= 0.2 + LATE


async def test_work_longer_than_the_delay_is_not_cut_short_and_followed_by_no_wait() -> None:
    [end] = await ends_of(turn(Pacing(0.01, 1), work=0.08))
    assert 0.08 - EARLY <= end <= 0.08 + LATE


async def test_without_a_delay_there_is_no_wait() -> None:
    pacing = Pacing(0, 1)
    ends = await ends_of(*(turn(pacing) for _ in range(1_000)))
    assert max(ends) < 0.5


async def test_a_cancelled_waiter_costs_the_others_nothing() -> None:
    pacing = Pacing(DELAY, 1)
    holder, waiter, last = (asyncio.create_task(turn(pacing)) for _ in range(3))
    begin = asyncio.get_running_loop().time()
    await asyncio.sleep(0.01)
    waiter.cancel()
    assert await last - begin == pytest.approx(2 * DELAY, abs=LATE)
    assert holder.done()


async def test_a_waiter_cancelled_as_its_place_comes_passes_it_on() -> None:
    pacing = Pacing(0, 1)
    async with pacing.turn(PEER):
        waiter, last = asyncio.create_task(turn(pacing)), asyncio.create_task(turn(pacing))
        await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait_for(last, 1)
    assert waiter.cancelled()


async def test_a_cancelled_holder_gives_its_place_back_at_once() -> None:
    delay = 0.2
    pacing = Pacing(delay, 1)
    holder = asyncio.create_task(turn(pacing))
    waiter = asyncio.create_task(ends_of(turn(pacing)))
    await asyncio.sleep(0.01)
    holder.cancel()
    [end] = await waiter
    assert delay - EARLY <= end <= 0.01 + delay + LATE


async def test_requests_that_gave_up_leave_no_debt() -> None:
    """Ten people try a slow server and press Ctrl-C; the eleventh waits for nobody."""
    pacing = Pacing(DELAY, 1)
    for _ in range(10):
        holder = asyncio.create_task(turn(pacing))
        await asyncio.sleep(0)
        holder.cancel()
        await asyncio.wait([holder])
    [end] = await ends_of(turn(pacing))
    assert end <= DELAY + LATE


async def test_work_that_fails_gives_its_place_back() -> None:
    pacing = Pacing(0, 1)
    with pytest.raises(ValueError, match="broken"):
        async with pacing.turn(PEER):
            raise ValueError("broken")
    await asyncio.wait_for(turn(pacing), 1)


async def test_a_backlog_is_not_answered_at_once_after_a_freeze() -> None:
    pacing = Pacing(DELAY, 1)
    turns = [asyncio.create_task(turn(pacing)) for _ in range(5)]
    await asyncio.sleep(0.01)
    time.sleep(6 * DELAY)  # noqa: ASYNC251 - the process froze; every one of the turns should have ended by now
    ends = await asyncio.gather(*turns)
    assert all(later - earlier >= DELAY - MAX_CATCH_UP - EARLY for earlier, later in pairwise(ends))


async def test_an_idle_time_is_no_credit() -> None:
    pacing = Pacing(DELAY, 1)
    await turn(pacing)
    await asyncio.sleep(3 * DELAY)
    ends = await ends_of(*(turn(pacing) for _ in range(3)))
    assert all(end >= number * DELAY - EARLY for number, end in enumerate(ends, 1))
