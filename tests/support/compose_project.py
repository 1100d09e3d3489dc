"""A project of real containers from compose.yaml, under a name of its own, that leaves nothing behind."""

import json
import os
import re
import secrets
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from support.free_port import free_port

ROOT = Path(__file__).parents[2]

KEPT = re.compile(r"PATH|HOME|TMPDIR|XDG_.*|DOCKER_.*|BUILDX_.*|SSL_CERT_FILE")
"""Variables that reach compose; a PACE of whoever runs the tests is none of them."""


def environment(**settings: object) -> dict[str, str]:
    """What compose is run with; a .env in the checkout is not for tests."""
    kept = {key: value for key, value in os.environ.items() if KEPT.fullmatch(key)}
    return {**kept, "COMPOSE_DISABLE_ENV_FILE": "1", **{key: str(value) for key, value in settings.items()}}


def docker(*words: str, limit: float = 60, **settings: object) -> str:
    """The output of a docker command. Raises CalledProcessError with what it said when it fails."""
    command = ["docker", *words]
    done = subprocess.run(
        command, env=environment(**settings), capture_output=True, text=True, timeout=limit, check=False
    )
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout + "\n" + done.stderr)
    return done.stdout


def derive(image: str, derived: str, lines: str) -> None:
    """Build an image from another one, with more lines of a Dockerfile."""
    words = ["docker", "build", "--quiet", "--provenance=false", "--tag", derived, "-"]
    source = f"FROM {image}\n{lines}\n"
    subprocess.run(words, input=source, env=environment(), text=True, capture_output=True, check=True, timeout=120)


class ComposeProject:
    """One project; its settings are what its user would have in the shell."""

    def __init__(
        self, tag: str, root: Path = ROOT, files: Sequence[str] = ("compose.yaml",), **settings: object
    ) -> None:
        self.name = f"e2e-{secrets.token_hex(4)}"
        self.page = free_port()
        self.root = root
        self.settings: dict[str, object] = {"TAG": tag, "WEBUI_PORT": self.page, **settings}
        self._files = files

    def command(self, *words: str) -> list[str]:
        files = [word for file in self._files for word in ("--file", str(self.root / file))]
        return ["docker", "compose", "--project-name", self.name, *files, *words]

    def environment(self) -> dict[str, str]:
        return environment(**self.settings)

    def run(self, *words: str, limit: float = 120) -> "subprocess.CompletedProcess[str]":
        """A compose command, however it ends."""
        return subprocess.run(
            self.command(*words), env=self.environment(), capture_output=True, text=True, timeout=limit, check=False
        )

    def ask(self, *words: str, limit: float = 120) -> str:
        """The output of a compose command. Raises AssertionError with what it said when it fails."""
        done = self.run(*words, limit=limit)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def up(self, *words: str) -> float:
        """Start, and wait until all are healthy; the seconds it took."""
        began = time.monotonic()
        self.ask("up", "--detach", "--wait", *words)
        return time.monotonic() - began

    def stop(self, *services: str) -> float:
        """Stop; the seconds it took."""
        began = time.monotonic()
        self.ask("stop", *services)
        return time.monotonic() - began

    def down(self) -> None:
        """Remove all that this project made, but the images."""
        self.run("down", "--volumes", "--remove-orphans", "--timeout", "1")

    def remove_images(self) -> None:
        """Remove what was built for this tag, by this project and others."""
        registry, tag = self.settings.get("REGISTRY", "dockercoins-grpc"), self.settings["TAG"]
        images = [f"{registry}/{service}:{tag}" for service in ("rng", "hasher", "worker", "webui", "certs")]
        subprocess.run(
            ["docker", "image", "rm", "--force", *images], env=environment(), capture_output=True, check=False
        )
        # Compose labels images with the project, so each project builds its own, which take the name from the last.
        docker("image", "prune", "--force", "--filter", f"label=org.opencontainers.image.version={tag}")

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """What the engine knows of the containers, those that have ended too."""
        ids = self.ask("ps", "--all", "--quiet", *([service] if service else [])).split()
        found: list[dict[str, Any]] = json.loads(docker("inspect", *ids)) if ids else []
        return found

    def exit_codes(self) -> dict[str, int]:
        return {container["Name"]: container["State"]["ExitCode"] for container in self.containers()}

    def logs(self, *services: str) -> str:
        # Compose clears the line it writes on, even where there is none to clear.
        return self.run("logs", "--no-color", "--no-log-prefix", *services).stdout.replace("\x1b[2K", "")

    def redis(self, *words: str) -> Any:
        """Redis's answer to a command, as redis-cli gives it in JSON."""
        return json.loads(self.ask("exec", "--no-TTY", "redis", "redis-cli", "--json", *words))

    def hashes(self) -> int:
        return int(self.redis("GET", "hashes") or 0)

    def hashes_logged(self) -> int:
        """What the workers say that they have counted."""
        return sum(int(units) for units in re.findall(r"(\d+) units of work done", self.logs("worker")))

    def wait_for_hashes(self, more_than: int, limit: float) -> float:
        """The seconds until Redis has more than so many."""
        began = time.monotonic()
        while self.hashes() <= more_than:
            assert time.monotonic() - began < limit, f"still {more_than} hashes after {limit} s: {self.logs()}"
        return time.monotonic() - began

    def reports(self) -> list[dict[str, str]]:
        entries = []
        for _, fields in self.redis("XRANGE", "reports", "-", "+"):
            entries.append(fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True)))
        return entries

    def speed(self, seconds: float) -> float:
        """Hashes a second in the reports of the last so many seconds, over the time they took, of all workers."""
        since_us = (time.time() - seconds) * 1e6
        hashes: dict[str, int] = defaultdict(int)
        spent: dict[str, float] = defaultdict(float)
        for report in self.reports():
            if int(report["begin_us"]) >= since_us:
                hashes[report["worker"]] += int(report["hashes"])
                spent[report["worker"]] += (int(report["end_us"]) - int(report["begin_us"])) / 1e6
        assert len(hashes) == len(self.ask("ps", "--quiet", "worker").split())
        return sum(hashes[worker] / spent[worker] for worker in hashes)


Start = Callable[..., ComposeProject]
"""Takes settings and makes a project that is removed after the test, or after what else asked for it."""
