"""A stack of real tasks from deploy/swarm/stack.yaml, under a name of its own, that leaves nothing behind."""

import json
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Collection
from typing import Any

from support.compose_project import docker, get, hashes, run
from support.free_port import free_port
from support.waiting import wait_until

UPDATED = {"completed", "paused", "rollback_completed", "rollback_paused"}
"""What a change of a service can come to."""

USERS = ("worker", "webui")
"""Of Redis, each with a password of its own."""

LIMIT_S = 180.0
"""In which Swarm is done with what a command began."""


class SwarmStack:
    """One stack, and the secrets that it takes; its settings are what its user would have in the shell."""

    def __init__(self, tag: str, **settings: object) -> None:
        self.name = f"e2e-{secrets.token_hex(4)}"
        self.page = free_port()
        names = {f"{user.upper()}_SECRET": f"{self.name}-{user}-redis-password" for user in USERS}
        self.settings: dict[str, object] = {"TAG": tag, "WEBUI_PORT": self.page, **names, **settings}

    def shell(self, command: str) -> str:
        """Return what a shell prints for a command of docs/swarm.md, with the names of this stack and node."""
        words = re.sub(r"\bcoins(?=_|$|( --))", self.name, command).replace("dockercoins-w", f"{self.name}-w")
        node = docker("node", "inspect", "self", "--format", "{{.ID}}").strip()
        words = words.replace("NODE", node).replace("v2", f"{self.settings['TAG']}-v2")
        done = run("bash", "-c", f"set -o pipefail; {words}", settings=self.settings)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def tasks(self, service: str) -> list[dict[str, Any]]:
        """Return what Swarm says of the tasks, including those that have ended."""
        ids = docker("service", "ps", "--quiet", "--no-trunc", f"{self.name}_{service}").split()
        try:
            found: list[dict[str, Any]] = json.loads(docker("inspect", *ids)) if ids else []
        except subprocess.CalledProcessError:  # Swarm has forgotten one meanwhile
            return self.tasks(service)
        return found

    def running(self, service: str) -> list[dict[str, Any]]:
        """Return the tasks that are healthy and to stay."""
        tasks = self.tasks(service)
        return [task for task in tasks if task["DesiredState"] == task["Status"]["State"] == "running"]

    def tags(self, service: str) -> list[str]:
        """Return the tags of the images that run, each once."""
        images = [task["Spec"]["ContainerSpec"]["Image"] for task in self.running(service)]
        return sorted({image.rpartition(":")[2] for image in images})

    def containers(self, service: str) -> list[str]:
        """Return the ids of the containers of the tasks that run."""
        return [task["Status"]["ContainerStatus"]["ContainerID"] for task in self.running(service)]

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds. Raises AssertionError with what the tasks and logs say."""
        wait_until(condition, LIMIT_S, self.story)

    def wait_until_running(self, **replicas: int) -> None:
        self.wait_for(lambda: all(len(self.running(name)) == number for name, number in replicas.items()))

    def update_state(self, service: str) -> str:
        """Return what became of the last change: `updating`, `completed`, `rollback_completed` and others, or ""."""
        [found] = json.loads(docker("service", "inspect", f"{self.name}_{service}"))
        return str(found.get("UpdateStatus", {}).get("State", ""))

    def wait_until_updated(self, *changed: str, perhaps: Collection[str] = ()) -> None:
        """Wait until Swarm has done with the last change of each, for better or worse.

        It says nothing of a change until it begins with it, and never anything where there is nothing to do. Where that
        may be so, of services `perhaps` changed, nothing counts as done, which may be too early.
        """
        self.wait_for(
            lambda: (
                all(self.update_state(service) in UPDATED for service in changed)
                and all(self.update_state(service) in {*UPDATED, ""} for service in perhaps)
            )
        )

    def exit_codes(self, service: str, since: float) -> list[int]:
        """Return the exit codes of what ended since a moment of Unix time, also of containers that are gone."""
        label = f"label=com.docker.swarm.service.name={self.name}_{service}"
        words = ["--since", str(since), "--until", str(time.time()), "--filter", "event=die", "--filter", label]
        return [int(code) for code in docker("events", *words, "--format", "{{.Actor.Attributes.exitCode}}").split()]

    def hashes(self) -> int:
        return hashes(self.page)

    def slowest(self, begin: float, end: float) -> float:
        """Return the lowest speed in any three seconds between two moments of Unix time, in hashes/s."""
        points = json.loads(get(self.page, f"/api/history?seconds={int(time.time() - begin) + 1}"))["points"]
        speeds = [speed for second, speed in points if begin <= second <= end - 1]
        return min((sum(three) / 3 for three in zip(speeds, speeds[1:], speeds[2:], strict=False)), default=0.0)

    def story(self) -> str:
        """Return what to read when something went wrong."""
        names = docker("stack", "services", "--format", "{{.Name}}", self.name).split()
        logs = [run("docker", "service", "logs", "--tail", "20", name).stdout for name in names]
        return "\n".join([docker("stack", "ps", "--no-trunc", self.name), *logs])

    def left(self) -> dict[str, str]:
        """Return what there is of this stack, by kind; a kind with nothing is not named."""
        label = f"label=com.docker.stack.namespace={self.name}"
        kinds: dict[str, list[str]] = {"service": [], "network": [], "config": [], "container": ["--all"]}
        found = {kind: docker(kind, "ls", *words, "-q", "--filter", label) for kind, words in kinds.items()}
        return {kind: ids for kind, ids in found.items() if ids.strip()}

    def close(self) -> None:
        """Remove all, including what was mined and the secrets."""
        if self.left():
            docker("stack", "rm", self.name)
            self.wait_for(lambda: not self.left())
        for kind in ("secret", "volume"):
            named = docker(kind, "ls", "--quiet", "--filter", f"name={self.name}").split()
            if named:
                docker(kind, "rm", *named)
