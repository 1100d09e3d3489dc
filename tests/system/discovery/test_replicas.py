"""Three replicas of rng and of hasher at full load that come and go: one system, whose story the tests tell in order.

Replicas wait rather than compute, so what they can do is known. The bounds are those of docs/discovery.md, and what a
busy machine adds.
"""

import signal
import time
from collections.abc import Iterator

import pytest
from system.discovery.mine import Mine, mine

DELAY = 0.02

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
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mine]:
    with mine(tmp_path_factory.mktemp("mine"), {}, rng=DELAY, hasher=DELAY) as made:
        made.start(1)
        made.start_worker()
        yield made


def report(what: str, seconds: float) -> None:
    print(f"{what}: {seconds:.2f} s")  # noqa: T201 - shown with -rP


def test_new_replicas_have_their_share_soon(system: Mine) -> None:
    system.until_full_speed()
    with system.nothing_is_sent_again():
        added = system.start(2, 3)
        report("1 to 3", system.until_shared(added, JOIN_LIMIT_S + BUSY_S, since=time.monotonic()))


def test_when_one_is_killed_the_others_do_its_work_and_its_replacement_has_its_share(system: Mine) -> None:
    system.until_full_speed()
    began = time.monotonic()
    for limit in system.limits:
        limit.kill(2)
    time.sleep(3)
    seconds = system.recovered_after(began, time.monotonic())
    report("killed", seconds)
    assert seconds <= KILL_LIMIT_S + BUSY_S
    replacements = system.start(2)
    report("replaced", system.until_shared(replacements, REPLACE_LIMIT_S + BUSY_S, since=time.monotonic()))


def test_when_one_is_frozen_the_others_do_its_work_until_it_is_back(system: Mine) -> None:
    system.until_full_speed()
    frozen = [limit.running[2].instance for limit in system.limits]
    began = time.monotonic()
    for limit in system.limits:
        limit.freeze(2)
    time.sleep(6)
    seconds = system.recovered_after(began, time.monotonic())
    report("frozen", seconds)
    assert seconds <= FREEZE_LIMIT_S + BUSY_S
    for limit in system.limits:
        limit.unfreeze(2)
    report("thawed", system.until_shared(frozen, THAW_LIMIT_S + BUSY_S, since=time.monotonic()))


def test_one_that_was_frozen_for_a_moment_keeps_its_streams_and_its_responses_count_once(system: Mine) -> None:
    system.until_full_speed()
    breaks, again = system.worker.text.count("stream broken"), system.asked_again
    for limit in system.limits:
        limit.freeze(3)
    time.sleep(1.2)  # longer than the hedging delay, shorter than gRPC takes to notice
    for limit in system.limits:
        limit.unfreeze(3)
    system.until_full_speed()
    assert system.asked_again > again
    assert system.worker.text.count("stream broken") == breaks


def test_while_all_say_that_they_do_not_serve_work_goes_on(system: Mine) -> None:
    system.until_full_speed()
    servers = [server for limit in system.limits for server in limit.running.values()]
    with system.nothing_is_sent_again():
        began = time.monotonic()
        for server in servers:
            server.send(signal.SIGUSR1)
        time.sleep(5)
        speed = system.hashed.speed(began, began + 5)
        for server in servers:
            server.send(signal.SIGUSR2)
        assert speed >= 0.8 * system.full_speed
        system.until_full_speed()


def test_a_restart_of_all_one_by_one_twice_loses_nothing_and_never_halves_the_speed(system: Mine) -> None:
    system.until_full_speed()
    with system.nothing_is_sent_again():
        began = time.monotonic()
        for _ in range(2):
            restarted = []
            for number in (1, 2, 3):
                assert system.stop(number) <= STOP_LIMIT_S + BUSY_S
                restarted += system.start(number)
        system.until_shared(restarted, REPLACE_LIMIT_S + BUSY_S, since=time.monotonic())
        slowest = system.hashed.slowest(began, time.monotonic(), 1)
        report("slowest second, part of full speed", slowest / system.full_speed)
        assert slowest >= 0.5 * system.full_speed


def test_a_replica_that_dns_names_no_more_is_drained_before_it_stops(system: Mine) -> None:
    """As in Kubernetes, where a pod serves on for some seconds."""
    system.until_full_speed()
    with system.nothing_is_sent_again():
        began = time.monotonic()
        for limit in system.limits:
            limit.hide(1)
        time.sleep(2)
        hidden = {limit.running[1].instance for limit in system.limits}
        assert not hidden & set(system.hashed.shares(began + 1.5, time.monotonic()))
        system.stop(1)
        assert system.hashed.slowest(began, time.monotonic(), 0.5) > 0
    system.start(1)


def test_mining_resumes_when_all_were_away_and_are_back(system: Mine) -> None:
    system.until_full_speed()
    for limit in system.limits:
        limit.kill(1, 2, 3)
    time.sleep(ABSENCE_S)
    system.start(1, 2, 3)
    began = time.monotonic()
    seconds = system.until(lambda now: system.hashed.speed(began, now) > 0, RETURN_LIMIT_S + BUSY_S, since=began)
    report("all back", seconds)


def test_two_of_three_that_are_stopped_under_full_load_are_gone_at_once_and_all_is_counted(system: Mine) -> None:
    system.until_full_speed()
    with system.nothing_is_sent_again():
        seconds = system.stop(1, 3)
        report("3 to 1", seconds)
        assert seconds <= STOP_LIMIT_S + BUSY_S
        system.until_full_speed()
    system.finish()
