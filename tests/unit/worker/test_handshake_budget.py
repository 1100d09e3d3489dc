import asyncio

import pytest
from support.virtual_time import now

from worker_svc import handshake_budget
from worker_svc.handshake_budget import BURST, HandshakeBudget

# A float holds its reciprocal, so that debts are paid to the last bit.
RATE = 4.0


@pytest.fixture(autouse=True)
def rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake_budget, "RATE", RATE)


@pytest.mark.parametrize("debts", [0, 1, 2])
@pytest.mark.parametrize("saved_for", [0.0, 60.0])
async def test_what_came_at_once_is_paid_for_before_there_is_more(debts: int, saved_for: float) -> None:
    budget = HandshakeBudget()
    await asyncio.sleep(saved_for)
    budget.spend(int(BURST) + debts)
    await budget.wait()
    assert now() == saved_for + debts / RATE


async def test_in_the_long_run_there_are_so_many_a_second() -> None:
    budget = HandshakeBudget()
    made = 0

    async def pool(backends: int) -> None:
        nonlocal made
        while now() < 60:
            await budget.wait()
            budget.spend(backends)
            made += backends

    await asyncio.gather(pool(3), pool(4))
    await budget.wait()
    assert made == BURST + RATE * now()
