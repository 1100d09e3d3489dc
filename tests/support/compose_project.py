"""A project of real containers from compose.yaml, under a name of its own, that leaves nothing behind."""

import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.free_port import free_port, free_ports
from support.waiting import wait_until

ROOT = Path(__file__).parents[2]

TEST_PORTS = ROOT / "tests" / "e2e" / "ports.yaml"
REPLICAS = 12
"""Ports that a project reserves for the replicas of each of rng and hasher."""

KEPT = re.compile(r"PATH|HOME|TMPDIR|XDG_.*|DOCKER_.*|BUILDX_.*|SSL_CERT_FILE")
"""Variables that reach compose; a PACE of whoever runs the tests does not."""


def environment(**settings: object) -> dict[str, str]:
    """Return the environment for compose; the tests ignore a .env file in the checkout."""
    kept = {key: value for key, value in os.environ.items() if KEPT.fullmatch(key)}
    return {**kept, "COMPOSE_DISABLE_ENV_FILE": "1", **{key: str(value) for key, value in settings.items()}}


def docker(*words: str, limit: float = 120, stdin: str = "", **settings: object) -> str:
    """Return the output of a docker command. Raises CalledProcessError with all its output when it fails."""
    command = ["docker", *words]
    done = subprocess.run(
        command, env=environment(**settings), input=stdin, capture_output=True, text=True, timeout=limit, check=False
    )
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout + "\n" + done.stderr)
    return done.stdout


def derive(image: str, derived: str, lines: str) -> None:
    """Build an image from another one, with more lines of a Dockerfile."""
    docker("build", "--quiet", "--provenance=false", "--tag", derived, "-", stdin=f"FROM {image}\n{lines}\n")


def speed(reports: Sequence[dict[str, str]], begin: float, end: float) -> float:
    """Return the hashes/s that workers reported for the time between two moments of Unix time."""
    hashes = 0.0
    for report in reports:
        since, until = int(report["begin_us"]) / 1e6, int(report["end_us"]) / 1e6
        common = min(until, end) - max(since, begin)
        hashes += int(report["hashes"]) * max(common, 0) / max(until - since, 1e-6)
    return hashes / (end - begin)


def parsed_reports(entries: Any) -> list[dict[str, str]]:
    """Return the reports in what redis-cli prints for XRANGE, whose fields are a list or, in RESP3, an object."""
    return [
        fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
        for _, fields in entries
    ]


class ComposeProject:
    """One project; its settings are what its user would have in the shell."""

    def __init__(
        self, tag: str, root: Path = ROOT, files: Sequence[str] = ("compose.yaml",), **settings: object
    ) -> None:
        self.name = f"e2e-{secrets.token_hex(4)}"
        self.page = free_port()
        self.root = root
        port = free_ports(2 * REPLICAS)
        self.settings: dict[str, object] = {
            "TAG": tag,
            "WEBUI_PORT": self.page,
            "TEST_RNG_PORTS": f"{port}-{port + REPLICAS - 1}",
            "TEST_HASHER_PORTS": f"{port + REPLICAS}-{port + 2 * REPLICAS - 1}",
            **settings,
        }
        self.files = [*(root / file for file in files), TEST_PORTS]

    def command(self, *words: str) -> list[str]:
        files = [word for file in self.files for word in ("--file", str(file))]
        return ["docker", "compose", "--project-name", self.name, *files, *words]

    def environment(self) -> dict[str, str]:
        return environment(**self.settings)

    def run(self, *words: str, limit: float = 180) -> "subprocess.CompletedProcess[str]":
        """Run a compose command, which may fail."""
        return subprocess.run(
            self.command(*words), env=self.environment(), capture_output=True, text=True, timeout=limit, check=False
        )

    def ask(self, *words: str, limit: float = 180) -> str:
        """Return the output of a compose command. Raises AssertionError with its output and the logs when it fails."""
        done = self.run(*words, limit=limit)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def try_up(self, *words: str, **settings: object) -> "subprocess.CompletedProcess[str]":
        """Start what the settings say, from the images there are, and wait until all are healthy or one has failed."""
        self.settings.update(settings)
        return self.run("up", "--detach", "--wait", "--no-build", *words)

    def up(self, *words: str, **settings: object) -> None:
        """Start, or change to, what the settings say, from the images there are, and wait until all are healthy."""
        self.settings.update(settings)
        self.ask("up", "--detach", "--wait", "--no-build", *words)

    def stop(self, *services: str) -> float:
        """Stop; return the seconds it took."""
        began = time.monotonic()
        self.ask("stop", *services)
        return time.monotonic() - began

    def down(self) -> None:
        """Remove all that this project made, except for the images."""
        self.run("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "1")

    def remove_images(self) -> None:
        """Remove what was built for this tag, by this project and others."""
        registry, tag = self.settings.get("REGISTRY", "dockercoins-grpc"), self.settings["TAG"]
        for service in ("rng", "hasher", "worker", "webui", "certs"):
            words = ["docker", "image", "rm", "--force", f"{registry}/{service}:{tag}"]
            subprocess.run(words, capture_output=True, check=False)
        # Compose labels images with the project, so each project builds its own, which take the name from the last.
        docker("image", "prune", "--force", "--filter", f"label=org.opencontainers.image.version={tag}")

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return what the engine says of the containers, including those that have ended, in the order of numbers."""
        ids = self.ask("ps", "--all", "--quiet", *([service] if service else [])).split()
        found: list[dict[str, Any]] = json.loads(docker("inspect", *ids)) if ids else []
        return sorted(found, key=lambda each: int(each["Config"]["Labels"]["com.docker.compose.container-number"]))

    def exit_codes(self) -> dict[str, int]:
        return {container["Name"]: container["State"]["ExitCode"] for container in self.containers()}

    def restarts(self) -> int:
        return sum(container["RestartCount"] for container in self.containers())

    def logs(self, *services: str) -> str:
        # Compose clears the line it writes on, even where there is none to clear.
        return self.run("logs", "--no-color", "--no-log-prefix", *services).stdout.replace("\x1b[2K", "")

    def inside(self, service: str, *words: str) -> str:
        """Return the output of a command in a container."""
        return self.ask("exec", "--no-TTY", service, *words)

    def redis(self, *words: str) -> Any:
        """Return Redis's answer to a command, as redis-cli gives it in JSON."""
        return json.loads(self.inside("redis", "redis-cli", "--json", *words))

    def hashes(self) -> int:
        return int(self.redis("GET", "hashes") or 0)

    def hashes_logged(self) -> int:
        """Return the hashes that the workers' logs say were counted."""
        return sum(int(units) for units in re.findall(r"(\d+) units of work done", self.logs("worker")))

    def wait_for_hashes(self, more_than: int, limit: float = 30) -> None:
        """Wait until Redis has more than this number."""
        wait_until(lambda: self.hashes() > more_than, limit, self.logs)

    def speed(self, seconds: float) -> float:
        """Return the hashes/s of all workers in the last seconds that each of them has reported."""
        reports = parsed_reports(self.redis("XRANGE", "reports", "-", "+"))
        last = {report["worker"]: int(report["end_us"]) / 1e6 for report in reports}
        running = [end for end in last.values() if end > max(last.values()) - 4]
        return speed(reports, min(running) - seconds, min(running))
