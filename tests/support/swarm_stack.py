"""A stack of real tasks from deploy/swarm/stack.yaml, under a name of its own, that leaves nothing behind."""

import json
import secrets
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from support.compose_project import ROOT, docker
from support.free_port import free_port

STACK = ROOT / "deploy" / "swarm" / "stack.yaml"

POLL = 0.1
"""Seconds between two looks at what Swarm does by itself."""

DEPLOY = 60.0
"""Seconds within which Swarm takes a stack; it begins to run it after that."""

START = 90.0
"""Seconds within which all of a stack is healthy; the machine starts some ten containers meanwhile."""

UPDATED = {"completed", "paused", "rollback_completed", "rollback_paused"}
"""What a change of a service can come to."""

USERS = ("worker", "webui")
"""Of Redis, each with a password of its own."""


class SwarmStack:
    """One stack, and the secrets that it takes; its settings are what its user would have in the shell."""

    def __init__(self, tag: str, files: Sequence[Path] = (STACK,), **settings: object) -> None:
        self.name = f"e2e-{secrets.token_hex(4)}"
        self.page = free_port()
        self.passwords = {user: secrets.token_hex(24) for user in USERS}
        names = {f"{user.upper()}_SECRET": f"{self.name}-{user}" for user in USERS}
        self.settings: dict[str, object] = {"TAG": tag, "WEBUI_PORT": self.page, **names, **settings}
        self._files = files

    def make_secrets(self) -> None:
        for user, password in self.passwords.items():
            words = ["docker", "secret", "create", f"{self.name}-{user}", "-"]
            # As openssl writes it, with a newline.
            subprocess.run(words, input=f"{password}\n".encode(), capture_output=True, check=True, timeout=30)

    def deploy(self, **settings: object) -> None:
        """Have what the files say, or change to it; images are here and in no registry."""
        self.settings.update(settings)
        files = [word for file in self._files for word in ("--compose-file", str(file))]
        words = ["stack", "deploy", "--resolve-image", "never", *files, self.name]
        docker(*words, limit=DEPLOY, **self.settings)

    def service(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("service", "inspect", f"{self.name}_{service}"))[0]
        return found

    def tasks(self, service: str = "") -> list[dict[str, Any]]:
        """What Swarm knows of the tasks, those that have ended too."""
        names = [f"{self.name}_{service}"] if service else docker("stack", "services", "-q", self.name).split()
        ids = docker("service", "ps", "--quiet", "--no-trunc", *names).split()
        found: list[dict[str, Any]] = json.loads(docker("inspect", *ids)) if ids else []
        return found

    def running(self, service: str) -> list[dict[str, Any]]:
        """Tasks that are healthy and to stay."""
        return [task for task in self.tasks(service) if (task["DesiredState"], state(task)) == ("running", "running")]

    def containers(self, service: str) -> list[str]:
        """The ids of the containers of these tasks."""
        return [task["Status"]["ContainerStatus"]["ContainerID"] for task in self.running(service)]

    def wait_until_running(self, *services: str, limit: float = START) -> None:
        """Wait until each service has as many healthy tasks as it should have."""

        def all_run() -> bool:
            return all(
                len(self.running(service)) == self.service(service)["Spec"]["Mode"]["Replicated"]["Replicas"]
                for service in services
            )

        self.wait_for(all_run, limit)

    def wait_for(self, seen: Callable[[], bool], limit: float) -> float:
        """Wait until something is so; the seconds it took. Raises AssertionError with what the tasks and logs say."""
        began = time.monotonic()
        while not seen():
            assert time.monotonic() - began < limit, f"not within {limit} s: {self.story()}"
            time.sleep(POLL)
        return time.monotonic() - began

    def update_state(self, service: str) -> str:
        """What has become of the last change: `updating`, `completed`, `rollback_completed` and others, or nothing."""
        return str(self.service(service).get("UpdateStatus", {}).get("State", ""))

    def wait_until_updated(self, *changed: str, perhaps: Collection[str] = (), limit: float) -> None:
        """Wait until Swarm has done with the last change of each, for better or worse.

        It says nothing of a change until it begins with it, and never anything where there is nothing to do. Where that
        may be so, of services `perhaps` changed, nothing counts as done, which may be too early.
        """

        def all_done() -> bool:
            return all(self.update_state(service) in UPDATED for service in changed) and all(
                self.update_state(service) in {*UPDATED, ""} for service in perhaps
            )

        self.wait_for(all_done, limit)

    def scale(self, **replicas: int) -> None:
        numbers = [f"{self.name}_{service}={number}" for service, number in replicas.items()]
        docker("service", "scale", "--detach", *numbers)

    def ended(self, service: str, since: str) -> list[int]:
        """Exit codes of what ended since then, of containers that are gone, too; the time is by the engine's clock."""
        label = f"label=com.docker.swarm.service.name={self.name}_{service}"
        told = docker("events", "--since", since, "--until", engine_time(), "--filter", "event=die", "--filter", label,
                      "--format", "{{.Actor.Attributes.exitCode}}")  # fmt: skip
        return [int(code) for code in told.split()]

    def redis(self, *words: str) -> Any:
        """Redis's answer to one of its users, as redis-cli gives it in JSON."""
        (redis,) = self.containers("redis")
        script = 'REDISCLI_AUTH="$(cat /run/secrets/webui-redis-password)" exec redis-cli --user webui --json "$@"'
        return json.loads(docker("exec", redis, "sh", "-c", script, "sh", *words))

    def hashes(self) -> int:
        return int(self.redis("MGET", "hashes")[0] or 0)

    def story(self) -> str:
        """What to read when something went wrong."""
        told = [docker("stack", "ps", "--no-trunc", self.name)]
        for name in docker("stack", "services", "--format", "{{.Name}}", self.name).split():
            words = ["docker", "service", "logs", "--tail", "20", name]
            told.append(subprocess.run(words, capture_output=True, text=True, timeout=60, check=False).stdout)
        return "\n".join(told)

    def left(self) -> dict[str, str]:
        """What there is of this stack, by kind; a kind with nothing is not named."""
        label = f"label=com.docker.stack.namespace={self.name}"
        kinds: dict[str, list[str]] = {"service": [], "network": [], "config": [], "container": ["--all"]}
        found = {kind: docker(kind, "ls", *words, "-q", "--filter", label) for kind, words in kinds.items()}
        return {kind: ids for kind, ids in found.items() if ids.strip()}

    def remove(self) -> float:
        """Remove what Swarm removes with a stack; the seconds until it is gone."""
        docker("stack", "rm", self.name)
        return self.wait_for(lambda: not self.left(), limit=60)

    def close(self) -> None:
        """Remove all, what was mined and the secrets, too."""
        if self.left():
            self.remove()
        for kind in ("secret", "volume"):
            named = docker(kind, "ls", "--quiet", "--filter", f"name={self.name}").split()
            if named:
                docker(kind, "rm", *named)


def state(task: dict[str, Any]) -> str:
    """What it does: `starting` until it is healthy, then `running`, and at last `shutdown`, `failed` or the like."""
    return str(task["Status"]["State"])


def engine_time() -> str:
    """The time by the engine's clock, as `docker events` takes it."""
    return docker("info", "--format", "{{.SystemTime}}").strip()
