"""A project whose rngs and hashers are the tests' own in the real images: they also note what they answer, and when.

Both are the limit by waiting and not by CPU: on two cores more replicas that compute would add nothing, and any
balancing would look good.
"""

import bisect
import json
import math
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from support.compose_project import ROOT, Start, docker

from bench.witness import Evidence
from chassis.limits import DIGEST_SIZE

DELAY = 0.02
CONCURRENCY = 1
"""One at a time, while the next one waits: only then does a replica make up for what a busy machine held back."""

SPEED_OF_ONE = CONCURRENCY / DELAY
"""Batches a second that one rng, or one hasher, can do."""

BATCH_SIZE = 16
MESSAGE_SIZE = 32
WINDOW = 24
"""Batches in flight: for each of three rngs and three hashers one in work, one waiting and two on their way."""

SHARE_WINDOW = 0.5
"""Seconds in which shares and speeds are counted."""

STEP = 0.05
"""Seconds from the beginning of one of these windows to that of the next."""

FAIR_SHARE = 0.2
"""Part of the batches that one of three has at least."""

FULL = 0.9
"""Part of what some can do that counts as all of it."""

PATIENCE = 10.0
"""Seconds after which nothing more is waited for."""


class WitnessedProject:
    """One worker, with as many rngs and hashers as there are at the time, each known by its instance."""

    def __init__(self, make_project: Start, folder: Path) -> None:
        """A project that is not yet started. The folder is for what it shares with its containers."""
        self.evidence = {service: Evidence(folder / service) for service in ("rng", "hasher")}
        # The images' user is not the one who runs the tests.
        folder.chmod(0o711)
        for evidence in self.evidence.values():
            evidence.path.chmod(0o622)
        override = folder / "witnesses.json"
        override.write_text(json.dumps({"services": {service: witness(service, folder) for service in self.evidence}}))
        self.project = make_project(
            files=("compose.yaml", str(override)),
            PACE="full",
            BATCH_SIZE=BATCH_SIZE,
            MESSAGE_SIZE=MESSAGE_SIZE,
            WINDOW_SIZE=WINDOW,
        )
        self.network = f"{self.project.name}_back"

    def close(self) -> None:
        for evidence in self.evidence.values():
            evidence.close()

    def scale(self, replicas: int) -> None:
        """Have so many rngs and as many hashers."""
        numbers = [word for service in self.evidence for word in ("--scale", f"{service}={replicas}")]
        self.project.ask("up", "--detach", "--no-recreate", *numbers, *self.evidence)

    def replicas(self, service: str) -> list[str]:
        """The instances of a service, the one that was there first in front."""
        containers = self.project.containers(service)
        containers.sort(key=lambda container: int(container["Config"]["Labels"]["com.docker.compose.container-number"]))
        return [container["Config"]["Hostname"] for container in containers]

    def wait_until_full(self, replicas: int) -> None:
        """Wait until so many rngs and hashers do all they can."""
        deadline = time.monotonic() + PATIENCE
        while not all(_full(speed, replicas) for speed in self._speeds()):
            assert time.monotonic() < deadline, f"{replicas} do {self._speeds()} batches/s, too few"
            time.sleep(STEP)

    def _speeds(self) -> list[float]:
        now = time.monotonic()
        return [evidence.speed(now - SHARE_WINDOW, now) for evidence in self.evidence.values()]

    def shared_after(self, service: str, replica: str, since: float) -> float:
        """Seconds until one of three has its share: until the end of the first window in which it does."""
        end = since + SHARE_WINDOW
        while end < since + PATIENCE:
            _sleep_until(end)
            if self.evidence[service].shares(end - SHARE_WINDOW, end).get(replica, 0) >= FAIR_SHARE:
                return end - since
            end += STEP
        return math.inf

    def slow_for(self, service: str, replicas: int, since: float, seconds: float) -> float:
        """Seconds from which on no window is slower than what so many can do, of the seconds looked at."""
        _sleep_until(since + seconds)
        firsts: dict[tuple[str, int], float] = {}  # what is asked again is done once
        for answer in self.evidence[service].answers:
            firsts.setdefault((answer.client, answer.batch), answer.moment)
        moments = sorted(firsts.values())
        for step in reversed(range(round((seconds - SHARE_WINDOW) / STEP) + 1)):
            begin = since + step * STEP
            done = bisect.bisect_left(moments, begin + SHARE_WINDOW) - bisect.bisect_left(moments, begin)
            if not _full(done / SHARE_WINDOW, replicas):
                return (step + 1) * STEP
        return 0.0

    @property
    def asked_again(self) -> dict[str, int]:
        """Batches answered more than once, by service."""
        return {service: evidence.asked_again for service, evidence in self.evidence.items()}

    @property
    def hashed(self) -> int:
        """Different messages that the hashers hashed."""
        return self.evidence["hasher"].distinct_bytes // DIGEST_SIZE


def witness(service: str, folder: Path) -> dict[str, Any]:
    """What makes a service one that notes what it answers, in that folder."""
    return {
        "command": ["python", "-m", f"system.discovery.witness_{service}_svc"],
        "environment": {
            "PYTHONPATH": "/repository/tests:/repository",
            "WITNESS": f"/witness/{service}",
            "DELAY": DELAY,
            "CONCURRENCY": CONCURRENCY,
        },
        "volumes": [
            f"{ROOT}/tests:/repository/tests:ro",
            f"{ROOT}/bench:/repository/bench:ro",
            f"{folder}:/witness",
        ],
    }


def _full(speed: float, replicas: int) -> bool:
    return speed >= FULL * replicas * SPEED_OF_ONE


def _sleep_until(moment: float) -> None:
    time.sleep(max(moment - time.monotonic(), 0))


def listening_since(replica: str, started: float) -> float:
    """When it began to listen, of one that was started then; the engine's DNS knows a container before it runs."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        lines = docker("logs", "--timestamps", replica).splitlines()
        said = [line.split()[0] for line in lines if re.search(r"\blistening\b", line)]
        if said:
            moment = time.monotonic() - (time.time() - datetime.fromisoformat(said[-1]).timestamp())
            if moment >= started:
                return moment
        time.sleep(STEP)
    raise AssertionError(f"{replica} does not listen: {docker('logs', replica)}")


def same_clock(container: str) -> bool:
    """Whether a container's monotonic clock is the tests'; it is not where the engine has a machine of its own."""
    began = time.monotonic()
    told = float(docker("exec", container, "python", "-c", "import time; print(time.monotonic())"))
    return began <= told <= time.monotonic()
