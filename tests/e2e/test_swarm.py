"""Every command of docs/swarm.md on a real swarm of one node that has the images already, and then broken images.

The tests share one stack and run in the order of this file.
"""

import json
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from typing import Any

import pytest
from support.compose_project import ROOT, docker, get, hashes, run
from support.free_port import free_port
from support.waiting import wait_until

# What a change of a service can come to.
UPDATED = {"completed", "paused", "rollback_completed", "rollback_paused"}

# Of Redis, each with a password of its own.
USERS = ("worker", "webui")

# In which Swarm is done with what a command began.
LIMIT_S = 180.0


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
        words = words.replace("v2", f"{self.settings['TAG']}-v2").replace("NODE", node)
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


# What it takes several machines, and a registry, for.
NOT_HERE = [
    "docker swarm init",
    "docker swarm join-token worker",
    "export REGISTRY=registry.example/coins TAG=v1",
    "docker compose build --push",
]

BUILT = ("rng", "hasher", "worker", "webui")
# Services of which Swarm has tasks to replace, by what is in the command.
CHANGED = {"TAG=v2": BUILT, "rollback": ("rng",), "WORKER_SECRET": ("worker", "redis")}

DELAY_S = 0.05
REPLICAS = {"rng": 2, "hasher": 2, "worker": 2}
FULL_PACE = {"PACE": "full", "RNG_DELAY": DELAY_S, "HASHER_DELAY": DELAY_S, "CONCURRENCY": 1, "BATCH_SIZE": 16,
             "WINDOW_SIZE": 24, "RNGS": 2, "HASHERS": 2, "WORKERS": 2}  # fmt: skip
# Hashes/s of two rngs and two hashers, which limit it by waiting and not by CPU.
SPEED = 2 * 16 / DELAY_S

# Part of the speed that there is all the time while services are replaced; docs/swarm.md has what was measured.
FLOOR = 0.4

MONITOR = {"deploy": {"update_config": {"monitor": "3s"}, "rollback_config": {"monitor": "3s"}}}
OVERLAY = {
    **dict.fromkeys((*BUILT, "redis"), MONITOR),
    # An image that never gets ready is found out in 12 s, not in 90.
    "hasher": {**MONITOR, "healthcheck": {"start_period": "6s", "interval": "3s"}},
}

# What a later image sets; the user sets nothing of that.
LATER = "ENV LOG_LEVEL=warning"

# One that ends, and one that is ready on a port that no client knows.
BROKEN = {"rng": 'ENTRYPOINT ["false"]', "hasher": "ENV PORT=50152"}


def commands() -> list[str]:
    page = (ROOT / "docs" / "swarm.md").read_text()
    return [line.strip() for line in page.splitlines() if line.startswith("    ")]


LAST = commands().index("docker service scale coins_worker=0")


@pytest.fixture(scope="module")
def stack(swarm: None, tag: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwarmStack]:
    assert commands()[: len(NOT_HERE)] == NOT_HERE
    folder = tmp_path_factory.mktemp("swarm")
    derived = []
    for kind, services in (("v2", dict.fromkeys(BUILT, LATER)), ("broken", BROKEN)):
        for service, line in services.items():
            image = f"dockercoins-grpc/{service}:{tag}"
            derived.append(f"{image}-{kind}")
            (folder / "Dockerfile").write_text(f"FROM {image}\n{line}\n")
            docker("build", "--quiet", "--provenance=false", "--tag", derived[-1], str(folder))
    overlay = folder / "overlay.json"
    overlay.write_text(json.dumps({"services": OVERLAY}))
    with closing(SwarmStack(tag, OVERLAY=overlay, **FULL_PACE)) as stack:
        yield stack
    docker("image", "rm", "--force", *derived)


def settle(stack: SwarmStack, command: str) -> None:
    """Wait until what the page says of a command has come about."""
    wanted: dict[str, int] = {}
    if "stack deploy" in command:
        wanted = {"webui": 1, "redis": 1, **REPLICAS}
        wanted |= {name.lower(): int(number) for name, number in re.findall(r"\b(RNG|WORKER)S=(\d)", command)}
    elif "service scale" in command:
        wanted = {name: int(number) for name, number in re.findall(r"coins_(\w+)=(\d)", command)}
    if "rng-per-node" in command:
        wanted["rng"] = min(wanted["rng"], len(docker("node", "ls", "--quiet").split()))
        stack.wait_until_running(**wanted)
        stack.wait_for(lambda: "max replicas per node" in waiting(stack))
    elif wanted or "rollback" in command:
        changed = [service for words, services in CHANGED.items() if words in command for service in services]
        stack.wait_until_updated(*changed, perhaps={*BUILT, "redis"} - {*changed})
        stack.wait_until_running(**wanted)


def waiting(stack: SwarmStack) -> str:
    """Return why rngs wait for a node."""
    pending = [task["Status"] for task in stack.tasks("rng") if task["Status"]["State"] == "pending"]
    return " ".join(status.get("Err", "") for status in pending)


def check(stack: SwarmStack, command: str, printed: str, started: float) -> None:
    """Check what the page says of a command, beyond what runs after it."""
    first, later = [str(stack.settings["TAG"])], [f"{stack.settings['TAG']}-v2"]
    if command.endswith("stack.yaml coins") and "=" not in command:
        stack.wait_for(stack.hashes)
    elif "coins_rng=2 coins_worker=3" in command:
        stack.wait_for(lambda: stack.slowest(time.time() - 6, time.time() - 2) >= 0.7 * SPEED)
    elif command.startswith("TAG=v2"):
        stack.wait_for(lambda: all(stack.tags(service) == later for service in BUILT))
        assert stack.slowest(started, time.time() - 2) >= FLOOR * SPEED
        assert {stack.update_state(service) for service in BUILT} == {"completed"}
        assert set(stack.exit_codes("worker", started)) == {0}
        given = json.loads(docker("inspect", "--format", "{{json .Config.Env}}", stack.containers("worker")[0]))
        assert {LATER.removeprefix("ENV "), "PACE=full"} <= set(given)
        assert not [variable for variable in given if "=" not in variable or "OTEL" in variable]
    elif "rollback" in command:
        stack.wait_for(lambda: stack.tags("rng") == first)
        stack.wait_for(lambda: stack.update_state("rng") == "rollback_completed")
    elif "UpdateStatus" in command:
        assert '"rollback_completed"' in printed
    elif "mget" in command:
        assert int(printed) > 0
    elif "WORKER_SECRET" in command:
        before = stack.hashes()
        stack.wait_for(lambda: stack.hashes() > before)
    elif "service logs" in command:
        stack.wait_for(lambda: "units of work done" in stack.shell(command))


def carry_out(stack: SwarmStack, command: str) -> None:
    started = time.time()
    file = "--compose-file deploy/swarm/stack.yaml"
    printed = stack.shell(
        command.replace(file, f'{file} --compose-file "$OVERLAY"').replace("deploy -", "deploy --resolve-image never -")
    )
    settle(stack, command)
    check(stack, command, printed, started)


@pytest.mark.parametrize("command", commands()[len(NOT_HERE) : LAST])
def test_a_command_of_the_page_does_what_it_says(stack: SwarmStack, command: str) -> None:
    carry_out(stack, command)


def test_no_password_is_in_what_the_engine_shows(stack: SwarmStack) -> None:
    services = docker("stack", "services", "--quiet", stack.name).split()
    configs = docker("config", "ls", "--quiet", "--filter", f"name={stack.name}").split()
    containers = [container for service in (*BUILT, "redis") for container in stack.containers(service)]
    arguments = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    shown = docker("inspect", *services, *configs, *containers) + stack.story()
    shown += "".join(docker("exec", container, "sh", "-c", arguments) for container in containers)
    assert "redis-server" in shown
    for user in USERS:
        password = docker("exec", stack.containers(user)[0], "cat", "/run/secrets/redis-password").strip()
        assert len(password) == 48
        assert password not in shown


def test_broken_images_are_rolled_back_while_redis_moves_and_the_others_do_the_work(stack: SwarmStack) -> None:
    stack.shell("docker service scale coins_rng=2 coins_worker=2")
    stack.wait_until_running(rng=2, hasher=2, worker=2)
    stack.wait_for(lambda: stack.slowest(time.time() - 6, time.time() - 2) >= 0.7 * SPEED)
    began, tasks = time.time(), len(stack.tasks("redis"))
    docker("service", "update", "--detach", "--force", f"{stack.name}_redis")
    tag = str(stack.settings["TAG"])
    for service in BROKEN:
        image = f"dockercoins-grpc/{service}:{tag}-broken"
        docker("service", "update", "--detach", "--no-resolve-image", "--image", image, f"{stack.name}_{service}")
    stack.wait_for(lambda: all(stack.update_state(service).startswith("rollback") for service in BROKEN))
    stack.wait_until_updated(*BROKEN, "redis")
    assert len(stack.tasks("redis")) == tasks + 1
    for service in BROKEN:
        assert stack.update_state(service) == "rollback_completed"
        assert stack.tags(service) == [tag]
        images = [task["Spec"]["ContainerSpec"]["Image"] for task in stack.tasks(service)]
        assert [image for image in images if image.endswith("broken")]
    assert stack.slowest(began, time.time() - 2) >= FLOOR * SPEED


def test_workers_end_well_and_nothing_is_left_but_what_was_mined(stack: SwarmStack) -> None:
    began = time.time()
    carry_out(stack, commands()[LAST])
    stack.wait_for(lambda: len(stack.exit_codes("worker", began)) >= 2)
    assert stack.exit_codes("worker", began) == [0] * 2
    for command in commands()[LAST + 1 :]:
        carry_out(stack, command)
    stack.wait_for(lambda: not stack.left())
    volumes = docker("volume", "ls", "--quiet", "--filter", f"name={stack.name}_").split()
    assert volumes == [f"{stack.name}_redis"]
