"""Three replicas of rng and of hasher at full load that come and go: one system, whose story the tests tell in order.

Replicas wait rather than compute, so what they can do is known. The bounds are those of docs/discovery.md, and what a
busy machine adds.
"""

import signal
import time
from collections.abc import Iterator

import pytest
from support.waiting import wait_until
from system.discovery.mine import Mine, mine
from system.discovery.replicas import say

DELAY_S = 0.03

# What a process is held up on a machine that has other tests to run.
BUSY_S = 1.5

JOIN_LIMIT_S = 1.2
STOP_LIMIT_S = 0.5
REPLACE_LIMIT_S = 1.0
KILL_LIMIT_S = 0.5
FREEZE_LIMIT_S = 3.0
THAW_LIMIT_S = 1.5
RETURN_LIMIT_S = 1.0
ABSENCE_S = 20.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mine]:
    with mine(tmp_path_factory.mktemp("mine"), rng=DELAY_S, hasher=DELAY_S) as made:
        made.start(1)
        made.start_worker()
        yield made


@pytest.fixture
def system(running: Mine) -> Mine:
    running.until_full_speed()
    return running


def check(what: str, seconds: float, limit_s: float) -> None:
    say(f"{what}: {seconds:.2f} s")
    assert seconds <= limit_s + BUSY_S


def test_new_replicas_have_their_share_soon(system: Mine) -> None:
    with system.nothing_retried():
        check("1 to 3", system.until_shared(system.start(2, 3)), JOIN_LIMIT_S)


def test_two_of_three_that_are_stopped_under_full_load_are_gone_at_once(system: Mine) -> None:
    with system.nothing_retried():
        check("3 to 1", system.stop(1, 3), STOP_LIMIT_S)
        system.until_full_speed()
    system.start(1, 3)


def test_when_one_is_killed_the_others_do_its_work_and_its_replacement_has_its_share(system: Mine) -> None:
    began = time.monotonic()
    for limit in system.limits:
        limit.kill(2)
    time.sleep(3)
    check("killed", system.recovered_after(began), KILL_LIMIT_S)
    check("replaced", system.until_shared(system.start(2)), REPLACE_LIMIT_S)


def test_when_one_is_frozen_the_others_do_its_work_until_it_is_back(system: Mine) -> None:
    began = time.monotonic()
    for limit in system.limits:
        limit.freeze(2)
    time.sleep(6)
    check("frozen", system.recovered_after(began), FREEZE_LIMIT_S)
    for limit in system.limits:
        limit.unfreeze(2)
    frozen = [limit.running[2].instance for limit in system.limits]
    check("thawed", system.until_shared(frozen), THAW_LIMIT_S)


def test_while_all_say_that_they_do_not_serve_work_goes_on(system: Mine) -> None:
    servers = [server for limit in system.limits for server in limit.running.values()]
    with system.nothing_retried():
        began = time.monotonic()
        for server in servers:
            server.send(signal.SIGUSR1)
        time.sleep(5)
        assert system.hashers.log.speed(began, began + 5) >= 0.8 * system.full_speed
        for server in servers:
            server.send(signal.SIGUSR2)
        system.until_full_speed()


def test_a_restart_of_all_one_by_one_twice_loses_nothing_and_never_halves_the_speed(system: Mine) -> None:
    with system.nothing_retried():
        began = time.monotonic()
        for _ in range(2):
            restarted = []
            for number in (1, 2, 3):
                check("stop", system.stop(number), STOP_LIMIT_S)
                restarted += system.start(number)
        check("restarted", system.until_shared(restarted), REPLACE_LIMIT_S)
        slowest = system.hashers.log.slowest(began, time.monotonic(), 1)
        say(f"slowest second, part of full speed: {slowest / system.full_speed:.2f}")
        assert slowest >= 0.5 * system.full_speed


def test_mining_resumes_when_all_were_away_and_are_back_and_all_is_counted(system: Mine) -> None:
    for limit in system.limits:
        limit.kill(1, 2, 3)
    time.sleep(ABSENCE_S)
    system.start(1, 2, 3)
    check("all back", wait_until(lambda: system.speed > 0), RETURN_LIMIT_S)
    system.until_full_speed()
    system.finish()
