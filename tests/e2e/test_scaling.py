"""The workshop: more workers, then another rng, then a night's sleep."""

import re
import time
from dataclasses import dataclass, field

import pytest
from support.compose_project import ComposeProject, Start, docker

WINDOW = 10.0
SETTLING = 5.0
"""Seconds after which a number of workers is at its speed."""

STEADY = 10.0
"""Seconds after the command in which a second rng must have its share."""


@dataclass
class Workshop:
    """What it showed."""

    speeds: dict[tuple[int, int], float] = field(default_factory=dict)
    hashers: int = 0
    """Different containers of the one hasher over all of it."""
    ports: list[str] = field(default_factory=list)
    reached: list[int] = field(default_factory=list)
    addresses: dict[str, int] = field(default_factory=dict)
    stopped_in: float = 0
    exit_codes: dict[str, int] = field(default_factory=dict)
    logged: int = 0
    kept: int = 0
    """Hashes in Redis after everything was started again."""
    started_from: int = 0
    """Hashes in Redis before the workers were started again."""


def scale(project: ComposeProject, workers: int, rngs: int) -> float:
    """As their users do; when the command was given."""
    began = time.monotonic()
    project.settings.update(WORKERS=workers, RNGS=rngs)
    project.up()
    return began


@pytest.fixture(scope="module")
def workshop(make_module_project: Start) -> Workshop:
    seen = Workshop()
    project = make_module_project()
    hashers: set[str] = set()
    for workers, rngs in ((2, 1), (3, 1), (10, 1), (10, 2)):
        began = scale(project, workers, rngs)
        settled = began + STEADY if rngs == 2 else time.monotonic() + SETTLING
        time.sleep(max(0.0, settled - time.monotonic()) + WINDOW)
        seen.speeds[workers, rngs] = project.speed(WINDOW)
        hashers.update(container["Id"] for container in project.containers("hasher"))
    seen.hashers = len(hashers)
    for index in (1, 2):
        address = project.ask("port", "--index", str(index), "rng", "50051").strip()
        seen.ports.append(address)
    for container in project.containers("worker"):
        code = "import socket; print(len({a[4] for a in socket.getaddrinfo('rng', 50051, type=socket.SOCK_STREAM)}))"
        seen.addresses[container["Name"]] = int(docker("exec", container["Id"], "python", "-c", code))
        logged = docker("logs", container["Id"])
        seen.reached.append(int(re.findall(r"backends to=rng count=(\d+)", logged)[-1]))
    seen.stopped_in = project.stop()
    seen.exit_codes = project.exit_codes()
    seen.logged = project.hashes_logged()
    project.up("--no-deps", "redis")
    seen.started_from = project.hashes()
    project.up()
    project.wait_for_hashes(seen.started_from, limit=10)
    seen.kept = project.hashes()
    return seen


@pytest.mark.parametrize(("workers", "rngs", "expected"), [(2, 1, 20 / 3), (3, 1, 10), (10, 1, 10), (10, 2, 20)])
def test_the_speed_is_the_workshops(workshop: Workshop, workers: int, rngs: int, expected: float) -> None:
    """One serial rng is the limit from three workers on; a second one has its share ten seconds after the command."""
    assert workshop.speeds[workers, rngs] == pytest.approx(expected, rel=0.03)


def test_what_is_not_scaled_goes_on_running(workshop: Workshop) -> None:
    assert workshop.hashers == 1


def test_each_replica_has_a_port_of_its_own(workshop: Workshop) -> None:
    numbers = [int(address.removeprefix("127.0.0.1:")) for address in workshop.ports]
    assert len(set(numbers)) == 2
    assert all(50051 <= number <= 50099 for number in numbers)


def test_each_worker_sees_one_address_a_replica(workshop: Workshop) -> None:
    assert list(workshop.addresses.values()) == [2] * 10


def test_each_worker_uses_both_replicas(workshop: Workshop) -> None:
    assert workshop.reached == [2] * 10


def test_all_are_gone_in_three_and_a_half_seconds_and_none_was_killed(workshop: Workshop) -> None:
    assert set(workshop.exit_codes.values()) == {0}
    assert len(workshop.exit_codes) == 15
    assert workshop.stopped_in < 3.5


def test_nothing_is_lost_or_counted_twice(workshop: Workshop) -> None:
    assert workshop.started_from == workshop.logged


def test_mining_goes_on_from_the_same_total(workshop: Workshop) -> None:
    assert workshop.started_from < workshop.kept < workshop.started_from + 200
