import asyncio

import pytest

from chassis.health import Health


def test_a_process_is_not_ready_before_it_has_started() -> None:
    health = Health()
    assert not health.ready
    health.started()
    assert health.ready


def test_every_condition_must_hold() -> None:
    health = Health("rng", "hasher")
    health.started()
    health.set("rng", met=True)
    assert not health.ready
    assert health.unmet == ["hasher"]
    health.set("hasher", met=True)
    assert health.ready


def test_a_condition_can_cease_to_hold() -> None:
    health = Health("rng")
    health.started()
    health.set("rng", met=True)
    health.set("rng", met=False)
    assert health.unmet == ["rng"]


def test_draining_is_for_good_whatever_else_happens() -> None:
    health = Health("rng")
    health.started()
    health.drain()
    health.set("rng", met=True)
    health.started()
    assert not health.ready


def test_what_stands_in_the_way_is_said_in_words_that_fit() -> None:
    health = Health("rng")
    assert health.unmet == ["rng", "starting"]
    health.set("rng", met=True)
    health.started()
    health.drain()
    assert health.unmet == ["draining"]


async def test_who_waits_for_a_change_is_woken_by_it() -> None:
    health = Health()
    changed = health.changed
    waiting = asyncio.create_task(changed.wait())
    await asyncio.sleep(0)
    health.started()
    await waiting
    assert not health.changed.is_set()


@pytest.mark.parametrize("met", [True, False])
def test_saying_the_same_again_is_no_change(met: bool) -> None:  # noqa: FBT001 - a parameter of the test
    health = Health("rng")
    health.set("rng", met=met)
    changed = health.changed
    health.set("rng", met=met)
    assert health.changed is changed
    assert not changed.is_set()
