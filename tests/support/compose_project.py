"""A project of real containers from compose.yaml, under a name of its own, that leaves nothing behind."""

import json
import re
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from support import programs
from support.free_port import free_port, free_ports
from support.waiting import wait_until

ROOT = Path(__file__).parents[2]

TEST_PORTS = ROOT / "tests" / "e2e" / "ports.yaml"
# Ports that a project reserves for the replicas of each of rng and hasher.
REPLICAS = 12

# Variables that the user has in the shell.
Settings = Mapping[str, object]

NONE: Settings = {}


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment for compose; the tests ignore a .env file in the checkout."""
    return programs.environment(COMPOSE_DISABLE_ENV_FILE=1, **settings)


def run(*command: str, settings: Settings = NONE, limit: float = 120) -> "subprocess.CompletedProcess[str]":
    """Run a command in the checkout."""
    return programs.run(*command, cwd=ROOT, env=environment(settings), timeout=limit)


def docker(*words: str, settings: Settings = NONE, limit: float = 120) -> str:
    """Return the output of a docker command. Raises CalledProcessError with all its output when it fails."""
    done = run("docker", *words, settings=settings, limit=limit)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, done.args, f"{done.stdout}\n{done.stderr}")
    return done.stdout


def get(port: int, path: str) -> str:
    """Return what webui serves on a port of this machine."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
        return str(response.read().decode())


def hashes(port: int) -> int:
    """Return the hashes that webui reads in Redis, 0 while it can't."""
    try:
        return int(json.loads(get(port, "/json"))["hashes"])
    except OSError:
        return 0


class ComposeProject:
    """One project; its settings are what its user would have in the shell."""

    def __init__(self, tag: str, root: Path = ROOT, files: Sequence[str] = ("compose.yaml",)) -> None:
        self.name = f"e2e-{secrets.token_hex(4)}"
        self.page = free_port()
        self.root = root
        port = free_ports(2 * REPLICAS)
        self.settings: dict[str, object] = {
            "TAG": tag,
            "WEBUI_PORT": self.page,
            "TEST_RNG_PORTS": f"{port}-{port + REPLICAS - 1}",
            "TEST_HASHER_PORTS": f"{port + REPLICAS}-{port + 2 * REPLICAS - 1}",
        }
        self.files = [*(root / file for file in files), TEST_PORTS]

    def command(self, *words: str) -> list[str]:
        files = [word for file in self.files for word in ("--file", str(file))]
        return ["docker", "compose", "--project-name", self.name, *files, *words]

    def run(self, *words: str, limit: float = 180) -> "subprocess.CompletedProcess[str]":
        """Run a compose command, which may fail."""
        return run(*self.command(*words), settings=self.settings, limit=limit)

    def compose(self, *words: str, limit: float = 180) -> str:
        """Return the output of a compose command. Raises AssertionError with its output and the logs when it fails."""
        done = self.run(*words, limit=limit)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Have it up until the context is left."""
        try:
            self.up()
            yield self
        finally:
            self.down()

    def up(self, *words: str, **settings: object) -> None:
        """Start, or change to, what the settings say, from the images there are, and wait until all are healthy."""
        self.settings.update(settings)
        self.compose("up", "--detach", "--wait", "--no-build", *words)

    def stop(self, *services: str) -> float:
        """Stop; return the seconds it took."""
        began = time.monotonic()
        self.compose("stop", *services)
        return time.monotonic() - began

    def down(self) -> None:
        """Remove all that this project made, except for the images."""
        self.run("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "1")

    def remove_images(self) -> None:
        """Remove what was built for this tag, by this project and others."""
        tag = self.settings["TAG"]
        for service in ("rng", "hasher", "worker", "webui", "load-test", "certs"):
            run("docker", "image", "rm", "--force", f"dockercoins-grpc/{service}:{tag}")
        # Compose labels images with the project, so each project builds its own, which take the name from the last.
        docker("image", "prune", "--force", "--filter", f"label=org.opencontainers.image.version={tag}")

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return what the engine says of the containers, including those that have ended, in the order of numbers."""
        ids = self.compose("ps", "--all", "--quiet", *([service] if service else [])).split()
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
        return self.compose("exec", "--no-TTY", service, *words)

    def get(self, path: str) -> str:
        return get(self.page, path)

    def hashes(self) -> int:
        return hashes(self.page)

    def hashes_logged(self) -> int:
        """Return the hashes that the workers' logs say were counted."""
        return sum(int(units) for units in re.findall(r"(\d+) units of work done", self.logs("worker")))

    def wait_for_hashes(self, more_than: int) -> None:
        wait_until(lambda: self.hashes() > more_than, story=self.logs)


def grpcurl_commands(page: str) -> list[str]:
    """Return the indented commands of a page that use grpcurl, each in one line."""
    text = re.sub(r"\|\n\s+", "| ", (ROOT / page).read_text())
    return [line.strip() for line in text.splitlines() if line.startswith("    ") and "grpcurl" in line]
