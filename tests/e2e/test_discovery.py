"""The worker finds rngs and hashers by the engine's DNS alone, while they are added, killed, frozen and cut off.

The tests share one project and run in the order of this file. rng and hasher limit the speed by waiting and not by CPU:
on two cores more replicas that compute would add nothing, and any balancing would look good. How soon each of this must
come about is tested with processes.
"""

import re
import time
from collections import Counter

import pytest
from support.compose_project import ComposeProject, docker
from support.waiting import wait_until

SERVICES = ("rng", "hasher")

DELAY_S = 0.05
FULL_PACE = {"PACE": "full", "RNG_DELAY": DELAY_S, "HASHER_DELAY": DELAY_S, "CONCURRENCY": 1, "BATCH_SIZE": 16,
             "WINDOW_SIZE": 24}  # fmt: skip

WINDOW_S = 2.0
"""In which shares and speeds are counted."""

FAIR_SHARE = 0.2
"""Part of the batches that one of three has at least."""

FULL = 0.7
"""Part of what the replicas can do that counts as all of it; other tests have the processors, too."""

LIMIT_S = 30.0

READ_METRICS = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9103/metrics').read().decode())"
COMPLETED = re.compile(
    r'^dockercoins_worker_completed_batches_total\{replica="(.*)",service="(.*)"\} (\S+)$', re.MULTILINE
)


def completed(project: ComposeProject) -> Counter[tuple[str, str]]:
    """Return the batches that the worker has of each replica, by service and replica."""
    found = COMPLETED.findall(project.inside("worker", "python", "-c", READ_METRICS))
    return Counter({(service, replica): int(float(count)) for replica, service, count in found})


def wait_until_shared(project: ComposeProject, replicas: int) -> None:
    """Wait until so many rngs and hashers each have a fair share, and do what they can."""

    def all_share() -> bool:
        began, before = time.monotonic(), completed(project)
        time.sleep(WINDOW_S)
        answered = completed(project) - before
        least = FULL * replicas * (time.monotonic() - began) / DELAY_S
        for each in SERVICES:
            counts = [count for (service, _), count in answered.items() if service == each]
            shares = [count for count in counts if count >= FAIR_SHARE * sum(counts)]
            if len(shares) != replicas or sum(counts) < least:
                return False
        return True

    wait_until(all_share, LIMIT_S, lambda: completed(project))


def test_services_start_in_any_order_and_new_replicas_get_their_share(project: ComposeProject) -> None:
    project.down()
    project.settings.update(FULL_PACE)
    project.ask("up", "--detach", "--no-build", "--no-deps", "worker", "webui")
    wait_until(lambda: "no endpoint" in project.logs("worker"))
    project.up()
    wait_until_shared(project, 1)
    assert project.restarts() == 0
    project.up(RNGS=3, HASHERS=3)
    wait_until_shared(project, 3)


@pytest.mark.parametrize(
    ("lose", "find"),
    [
        (["kill"], ["start"]),
        (["pause"], ["unpause"]),
        (["network", "disconnect"], ["network", "connect"]),
    ],
    ids=["killed", "frozen", "cut off"],
)
def test_the_others_take_over_from_one_of_three_until_it_is_back(
    project: ComposeProject, lose: list[str], find: list[str]
) -> None:
    lost = {service: project.containers(service)[1]["Id"] for service in SERVICES}
    network = [f"{project.name}_back"] if "network" in lose else []
    for replica in lost.values():
        docker(*lose, *network, replica)
    wait_until_shared(project, 2)
    for service, replica in lost.items():
        docker(*find, *(["--alias", service] if network else []), *network, replica)
    wait_until_shared(project, 3)
