import asyncio

import pytest

from chassis.health import Health


def test_a_process_is_ready_once_it_has_started_and_while_every_condition_holds() -> None:
    health = Health("rng", "hasher")
    assert health.unmet == ["rng", "hasher", "starting"]
    health.started()
    health.set("rng", met=True)
    assert (health.ready, health.unmet) == (False, ["hasher"])
    health.set("hasher", met=True)
    assert (health.ready, health.unmet) == (True, [])
    health.set("rng", met=False)
    assert (health.ready, health.unmet) == (False, ["rng"])


def test_draining_is_for_good_whatever_else_happens() -> None:
    health = Health("rng")
    health.started()
    health.drain()
    health.set("rng", met=True)
    health.started()
    assert (health.ready, health.unmet) == (False, ["draining"])


async def test_a_change_wakes_those_that_wait_for_it() -> None:
    health = Health()
    changed = health.changed
    waiting = asyncio.create_task(changed.wait())
    await asyncio.sleep(0)
    health.started()
    await waiting
    assert not health.changed.is_set()


@pytest.mark.parametrize("met", [True, False])
def test_the_same_again_is_no_change(met: bool) -> None:  # noqa: FBT001 - a parameter of the test
    health = Health("rng")
    health.set("rng", met=met)
    changed = health.changed
    health.set("rng", met=met)
    assert health.changed is changed
    assert not changed.is_set()
