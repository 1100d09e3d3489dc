import asyncio

import pytest

from worker_svc.handshake_budget import BURST, RATE, HandshakeBudget

pytestmark = pytest.mark.alone(reason="times are measured to hundredths of a second")


async def waited(budget: HandshakeBudget) -> float:
    began = asyncio.get_running_loop().time()
    await budget.wait()
    return asyncio.get_running_loop().time() - began


async def test_the_first_handshakes_may_come_at_once() -> None:
    budget = HandshakeBudget()
    budget.spend(int(BURST))
    assert await waited(budget) < 0.1


async def test_debts_are_paid_before_there_are_more() -> None:
    budget = HandshakeBudget()
    budget.spend(int(BURST) + 2)
    assert 0.8 * 2 / RATE <= await waited(budget) < 2 / RATE + 0.5


async def test_no_more_is_saved_than_may_come_at_once() -> None:
    budget = HandshakeBudget()
    await asyncio.sleep(0.3)
    budget.spend(int(BURST) + 1)
    assert await waited(budget) >= 0.8 / RATE


async def test_in_the_long_run_there_are_so_many_a_second() -> None:
    budget = HandshakeBudget()
    loop = asyncio.get_running_loop()
    began = loop.time()
    made = 0

    async def pool(backends: int) -> None:
        nonlocal made
        while loop.time() - began < 2:
            await budget.wait()
            budget.spend(backends)
            made += backends

    await asyncio.gather(pool(3), pool(4))
    await budget.wait()
    assert made <= BURST + RATE * (loop.time() - began) + 7
