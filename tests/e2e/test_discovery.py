"""The worker finds rngs and hashers by DNS alone, while they are added, stopped, killed, frozen and cut off."""

import json
import os
import time
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from e2e.witnessed_project import WitnessedProject, listening_since, same_clock
from support.compose_project import Start, docker

SERVICES = ("rng", "hasher")

TAKEN_OVER_WITHIN = {"killed": 1.0, "frozen": 3.0, "cut off": 3.0}
"""Seconds, by what happened to one of three."""

LASTING = 2.0
"""Seconds beyond these for which the speed of the others is looked at."""


@dataclass
class Trouble:
    """What came of losing one of three, and of having it back."""

    slow_for: float
    """Seconds until the others did all that two can do, and went on doing it."""
    shared_after: float
    """Seconds until the one that was back had its share."""


@dataclass
class Story:
    """What was seen; by service, or by service and by what happened."""

    new_shared_after: dict[str, float] = field(default_factory=dict)
    """Seconds from a new replica's listening to its share, of the one that took longest."""
    stopped_in: float = 0
    stop_codes: list[int] = field(default_factory=list)
    broken_by_stop: list[str] = field(default_factory=list)
    """What the worker said of streams that broke."""
    asked_again_by_stop: dict[str, int] = field(default_factory=dict)
    troubles: dict[tuple[str, str], Trouble] = field(default_factory=dict)
    worker_code: int = -1
    worker_restarts: int = -1
    logged: int = -1
    in_redis: int = -1
    hashed: int = -1


def grow(mine: WitnessedProject, story: Story) -> None:
    began = time.monotonic()
    mine.scale(3)
    for service in SERVICES:
        story.new_shared_after[service] = max(
            mine.shared_after(service, replica, since=listening_since(replica, began))
            for replica in mine.replicas(service)[1:]
        )
    mine.wait_until_full(3)


def shrink(mine: WitnessedProject, story: Story) -> None:
    """To one of each, and back to three."""
    victims = [replica for service in SERVICES for replica in mine.replicas(service)[1:]]
    began = time.monotonic()
    docker("stop", *victims)
    story.stopped_in = time.monotonic() - began
    time.sleep(1)
    story.stop_codes = [container["State"]["ExitCode"] for container in json.loads(docker("inspect", *victims))]
    story.broken_by_stop = [line for line in mine.project.logs("worker").splitlines() if "broken" in line]
    story.asked_again_by_stop = mine.asked_again
    docker("start", *victims)
    mine.wait_until_full(3)


def suffer(mine: WitnessedProject, story: Story, service: str) -> None:
    """One thing after the other happens to the same one of three."""
    victim = mine.replicas(service)[1]
    (container,) = json.loads(docker("inspect", victim))
    names = container["NetworkSettings"]["Networks"][mine.network]["Aliases"]
    aliases = [word for name in names for word in ("--alias", name)]
    for happened, lose, find in (
        ("killed", ["kill"], ["start"]),
        ("frozen", ["pause"], ["unpause"]),
        ("cut off", ["network", "disconnect", mine.network], ["network", "connect", *aliases, mine.network]),
    ):
        began = time.monotonic()
        docker(*lose, victim)
        slow_for = mine.slow_for(service, 2, since=began, seconds=TAKEN_OVER_WITHIN[happened] + LASTING)
        began = time.monotonic()
        docker(*find, victim)
        back = listening_since(victim, began) if happened == "killed" else began
        story.troubles[service, happened] = Trouble(slow_for, mine.shared_after(service, victim, since=back))
        mine.wait_until_full(3)


def finish(mine: WitnessedProject, story: Story) -> None:
    mine.project.stop("worker")
    (worker,) = mine.project.containers("worker")
    story.worker_code, story.worker_restarts = worker["State"]["ExitCode"], worker["RestartCount"]
    story.logged, story.in_redis, story.hashed = mine.project.hashes_logged(), mine.project.hashes(), mine.hashed


@pytest.fixture(scope="module")
def story(make_module_project: Start, tmp_path_factory: pytest.TempPathFactory) -> Story:
    story = Story()
    with closing(WitnessedProject(make_module_project, tmp_path_factory.mktemp("witnesses"))) as mine:
        mine.project.up("worker")
        if not same_clock(mine.replicas("rng")[0]) and "CI" not in os.environ:
            pytest.skip("the engine has a machine of its own, so what is seen there and here has no common clock")
        mine.wait_until_full(1)
        grow(mine, story)
        shrink(mine, story)
        for service in SERVICES:
            suffer(mine, story, service)
        finish(mine, story)
    return story


@pytest.mark.parametrize("service", SERVICES)
def test_new_replicas_have_their_share_within_three_seconds(story: Story, service: str) -> None:
    assert story.new_shared_after[service] <= 3


def test_those_that_are_told_to_stop_are_gone_in_three_and_a_half_seconds(story: Story) -> None:
    assert story.stop_codes == [0] * 4
    assert story.stopped_in <= 3.5


def test_nothing_fails_and_nothing_is_asked_again_when_replicas_are_told_to_stop(story: Story) -> None:
    assert story.broken_by_stop == []
    assert story.asked_again_by_stop == {"rng": 0, "hasher": 0}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("happened", TAKEN_OVER_WITHIN)
def test_the_others_take_over_in_time_when_one_of_three_is(story: Story, service: str, happened: str) -> None:
    assert story.troubles[service, happened].slow_for <= TAKEN_OVER_WITHIN[happened]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("happened", ["frozen", "cut off"])
def test_one_that_is_back_has_its_share_within_five_seconds_after_it_was(
    story: Story, service: str, happened: str
) -> None:
    assert story.troubles[service, happened].shared_after <= 5


@pytest.mark.parametrize("service", SERVICES)
def test_one_that_was_killed_and_is_started_again_has_its_share_within_three_seconds(
    story: Story, service: str
) -> None:
    assert story.troubles[service, "killed"].shared_after <= 3


def test_the_accounts_are_equal_to_the_last_hash(story: Story) -> None:
    """What was asked again is counted once, and what was lost was asked again."""
    assert (story.worker_code, story.worker_restarts) == (0, 0)
    assert story.in_redis == story.logged == story.hashed
