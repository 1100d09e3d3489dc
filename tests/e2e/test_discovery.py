"""The worker finds rngs and hashers by the engine's DNS alone, while they are added, stopped, killed, frozen, cut off.

The tests share one project and run in the order of this file. rng and hasher limit the speed by waiting and not by CPU:
on two cores more replicas that compute would add nothing, and any balancing would look good. How soon each of this must
come about is tested with processes.
"""

import json
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from support.compose_project import ComposeProject, docker
from support.waiting import wait_until

DELAY_S = 0.05
BATCHES_PER_S = 1 / DELAY_S
"""Of one rng, or of one hasher."""

FULL_PACE = {"PACE": "full", "RNG_DELAY": DELAY_S, "HASHER_DELAY": DELAY_S, "CONCURRENCY": 1, "BATCH_SIZE": 16,
             "WINDOW_SIZE": 24}  # fmt: skip

WINDOW_S = 2.0
"""In which shares and speeds are counted."""

FAIR_SHARE = 0.2
"""Part of the batches that one of three has at least."""

FULL = 0.7
"""Part of what the replicas can do that counts as all of it; other tests have the processors, too."""

LIMIT_S = 20.0

READ_METRICS = r"""
import json, re, time, urllib.request
answered = re.compile(r'^dockercoins_worker_completed_batches_total\{\w+="(.*)",service="(.*)"\} (\S+)$', re.MULTILINE)
while True:
    text = urllib.request.urlopen("http://127.0.0.1:9103/metrics", timeout=5).read().decode()
    counts = {f"{service} {replica}": float(count) for replica, service, count in answered.findall(text)}
    print(json.dumps([time.time(), counts]), flush=True)
    time.sleep(0.2)
"""


class Mine:
    """One worker, with rngs and hashers, and what the worker's metrics say of them."""

    def __init__(self, project: ComposeProject, metrics: Path) -> None:
        self.project = project
        self.services = ("rng", "hasher")
        self._metrics = metrics

    def answered(self, since: float) -> dict[str, dict[str, float]]:
        """Return the batches that each replica answered since then, but not longer ago than a window, by service."""
        samples = [json.loads(line) for line in self._metrics.read_text().splitlines()[-100:-1]]
        recent = [counts for moment, counts in samples if moment >= max(since, time.time() - WINDOW_S - 0.5)]
        answered: dict[str, dict[str, float]] = {service: defaultdict(float) for service in self.services}
        for earlier, later in pairwise(recent):
            for name, count in later.items():
                service, replica = name.split()
                answered[service][replica] += max(count - earlier.get(name, 0), 0)
        return answered

    def wait_until_shared(self, replicas: int) -> None:
        """Wait until each of these rngs and hashers has its share, and all do what they can."""
        began = time.time()

        def all_share() -> bool:
            found = [sorted(counts.values()) for counts in self.answered(began).values()]
            shared = [sum(count >= FAIR_SHARE * sum(counts) for count in counts) for counts in found]
            return shared == [replicas] * 2 and self.do_all_they_can(replicas, began)

        wait_until(all_share, LIMIT_S, lambda: self.answered(began))

    def do_all_they_can(self, replicas: int, since: float) -> bool:
        """Return whether these did it for a window, since then."""
        least = FULL * replicas * BATCHES_PER_S * WINDOW_S
        return all(sum(counts.values()) >= least for counts in self.answered(since).values())

    def replicas(self, *numbers: int) -> list[str]:
        """Return the containers of these numbers, of rng and of hasher."""
        return [self.project.containers(service)[number - 1]["Id"] for service in self.services for number in numbers]


def test_a_service_that_needs_others_may_be_there_first(project: ComposeProject) -> None:
    project.down()
    project.settings.update(FULL_PACE)
    project.ask("up", "--detach", "--no-build", "--no-deps", "worker", "webui")
    wait_until(lambda: project.logs("worker").count("\n") > 2)
    project.up()
    project.wait_for_hashes(0)
    assert project.restarts() == 0


@pytest.fixture(scope="module")
def mine(project: ComposeProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mine]:
    path = tmp_path_factory.mktemp("worker") / "metrics"
    with path.open("w") as metrics:
        command = project.command("exec", "--no-TTY", "worker", "python", "-c", READ_METRICS)
        with subprocess.Popen(command, env=project.environment(), stdout=metrics) as reading:
            mine = Mine(project, path)
            mine.wait_until_shared(1)
            yield mine
            reading.kill()


def test_new_replicas_get_their_share(mine: Mine) -> None:
    mine.project.up(RNGS=3, HASHERS=3)
    mine.wait_until_shared(3)


def test_stopped_replicas_finish_their_work_and_get_their_share_when_they_are_back(mine: Mine) -> None:
    stopped = mine.replicas(2, 3)
    docker("stop", *stopped)
    assert [each["State"]["ExitCode"] for each in json.loads(docker("inspect", *stopped))] == [0] * 4
    mine.wait_until_shared(1)
    docker("start", *stopped)
    mine.wait_until_shared(3)


@pytest.mark.parametrize(
    ("lose", "find"),
    [
        (["kill"], ["start"]),
        (["pause"], ["unpause"]),
        (["network", "disconnect"], ["network", "connect"]),
    ],
    ids=["killed", "frozen", "cut off"],
)
def test_the_others_take_over_from_one_of_three_until_it_is_back(mine: Mine, lose: list[str], find: list[str]) -> None:
    lost = dict(zip(mine.services, mine.replicas(2), strict=True))
    network = [f"{mine.project.name}_back"] if lose[0] == "network" else []
    began = time.time()
    for replica in lost.values():
        docker(*lose, *network, replica)
    wait_until(lambda: mine.do_all_they_can(2, began), LIMIT_S, lambda: mine.answered(began))
    for service, replica in lost.items():
        docker(*find, *(["--alias", service] if network else []), *network, replica)
    mine.wait_until_shared(3)


def test_mining_goes_on_when_redis_is_back_and_each_hash_is_counted_once(mine: Mine) -> None:
    project = mine.project
    project.ask("kill", "redis")
    time.sleep(3)
    project.up("--no-deps", "redis")
    project.wait_for_hashes(project.hashes())
    assert project.restarts() == 0
    project.stop("worker")
    assert project.containers("worker")[0]["State"]["ExitCode"] == 0
    assert project.hashes() == project.hashes_logged() > 0
