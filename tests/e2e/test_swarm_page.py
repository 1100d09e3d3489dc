"""Every command of docs/swarm.md, in its order, on a swarm of one node that has the images already."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from support.compose_project import ROOT, docker, environment
from support.swarm_stack import SwarmStack, state

NOT_HERE = [
    "docker swarm init",
    "docker swarm join-token worker",
    "export REGISTRY=registry.example/coins TAG=v1",
    "docker compose build --push",
]
"""What it takes several machines, and a registry, for."""

MINED = ("rng", "hasher", "worker", "webui")
CHANGED = {"TAG=v2": MINED, "rollback": ("rng",), "WORKER_SECRET": ("worker", "redis")}
"""Services of which Swarm has tasks to replace, by what is in the command."""

LIMIT = 90.0
"""Seconds within which Swarm is done with what a command began."""


def commands() -> list[str]:
    page = (ROOT / "docs" / "swarm.md").read_text()
    return [line.strip() for line in page.splitlines() if line.startswith("    ")]


@pytest.fixture
def stack(swarm: None, tag: str) -> Iterator[SwarmStack]:
    for service in MINED:
        docker("tag", f"dockercoins-grpc/{service}:{tag}", f"dockercoins-grpc/{service}:{tag}-v2")
    with closing(SwarmStack(tag)) as stack:
        yield stack
    docker("image", "rm", *(f"dockercoins-grpc/{service}:{tag}-v2" for service in MINED))


def run(command: str, stack: SwarmStack) -> str:
    """What a shell prints for it, of a stack of another name, that finds its images here."""
    settings = {**stack.settings, **{f"{user}_SECRET": f"{stack.name}-{user.lower()}-redis-password"
                                     for user in ("WORKER", "WEBUI")}}  # fmt: skip
    words = re.sub(r"\bcoins(?=_|$)", stack.name, command).replace("dockercoins-w", f"{stack.name}-w")
    node = docker("node", "inspect", "self", "--format", "{{.ID}}").strip()
    words = words.replace("NODE", node).replace("v2", f"{settings['TAG']}-v2")
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {words}"],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    return done.stdout


def has_run(stack: SwarmStack, **replicas: int) -> Callable[[], bool]:
    return lambda: all(len(stack.running(service)) == number for service, number in replicas.items())


def tags(stack: SwarmStack, service: str) -> set[str]:
    return {task["Spec"]["ContainerSpec"]["Image"].rpartition(":")[2] for task in stack.running(service)}


def settle(stack: SwarmStack, command: str) -> None:
    """Wait until what the page says of a command has come about."""
    wanted: dict[str, int] = {}
    if "stack deploy" in command:
        wanted = dict.fromkeys((*MINED, "redis"), 1)
        wanted |= {name.lower(): int(number) for name, number in re.findall(r"\b(RNG|WORKER)S=(\d)", command)}
    elif "service scale" in command:
        wanted = {name: int(number) for name, number in re.findall(r"coins_(\w+)=(\d)", command)}
    if "rng-per-node" in command:
        wanted["rng"] = min(wanted["rng"], len(docker("node", "ls", "--quiet").split()))
        stack.wait_for(lambda: has_run(stack, **wanted)() and "max replicas per node" in waiting(stack), LIMIT)
    elif wanted or "rollback" in command:
        changed = [service for words, services in CHANGED.items() if words in command for service in services]
        stack.wait_until_updated(*changed, perhaps={*MINED, "redis"} - {*changed}, limit=LIMIT)
        stack.wait_for(has_run(stack, **wanted), LIMIT)


def wait_until_it_grows(stack: SwarmStack) -> None:
    before = stack.hashes()
    stack.wait_for(lambda: stack.hashes() > before, limit=20)


def waiting(stack: SwarmStack) -> str:
    """Why rngs wait for a node."""
    return " ".join(task["Status"].get("Err", "") for task in stack.tasks("rng") if state(task) == "pending")


def check(stack: SwarmStack, command: str, printed: str) -> None:
    """What the page says of a command, beyond what runs after it."""
    first, later = {stack.settings["TAG"]}, {f"{stack.settings['TAG']}-v2"}
    if command.startswith("TAG=v2"):
        stack.wait_for(lambda: all(tags(stack, service) == later for service in MINED), LIMIT)
    elif "rollback" in command:
        stack.wait_for(lambda: tags(stack, "rng") == first, LIMIT)
        stack.wait_for(lambda: stack.update_state("rng") == "rollback_completed", LIMIT)
    elif "UpdateStatus" in command:
        assert '"rollback_completed"' in printed
    elif "mget" in command:
        assert int(printed) > 0
    elif "WORKER_SECRET" in command:
        wait_until_it_grows(stack)
    elif "service logs" in command:
        # A worker's first report is a second after it is ready.
        stack.wait_for(lambda: "units of work done" in run(command, stack), LIMIT)


def test_the_commands_of_the_page_do_what_it_says(stack: SwarmStack) -> None:
    said = commands()
    assert said[: len(NOT_HERE)] == NOT_HERE
    for command in said[len(NOT_HERE) :]:
        printed = run(command, stack)
        settle(stack, command)
        check(stack, command, printed)
    stack.wait_for(lambda: not stack.left(), limit=30)
