"""Every command of docs/swarm.md on a real swarm of one node that has the images already, and then broken images.

The tests share one stack and run in the order of this file.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from support.compose_project import ROOT, docker
from support.swarm_stack import USERS, SwarmStack

NOT_HERE = [
    "docker swarm init",
    "docker swarm join-token worker",
    "export REGISTRY=registry.example/coins TAG=v1",
    "docker compose build --push",
]
"""What it takes several machines, and a registry, for."""

BUILT = ("rng", "hasher", "worker", "webui")
CHANGED = {"TAG=v2": BUILT, "rollback": ("rng",), "WORKER_SECRET": ("worker", "redis")}
"""Services of which Swarm has tasks to replace, by what is in the command."""

DELAY_S = 0.05
REPLICAS = {"rng": 2, "hasher": 2, "worker": 2}
FULL_PACE = {"PACE": "full", "RNG_DELAY": DELAY_S, "HASHER_DELAY": DELAY_S, "CONCURRENCY": 1, "BATCH_SIZE": 16,
             "WINDOW_SIZE": 24, "RNGS": 2, "HASHERS": 2, "WORKERS": 2}  # fmt: skip
SPEED = 2 * 16 / DELAY_S
"""Hashes/s of two rngs and two hashers, which limit it by waiting and not by CPU."""

FLOOR = 0.4
"""Part of the speed that there is all the time while services are replaced; docs/swarm.md has what was measured."""

MONITOR = {"deploy": {"update_config": {"monitor": "3s"}, "rollback_config": {"monitor": "3s"}}}
OVERLAY = {
    **dict.fromkeys((*BUILT, "redis"), MONITOR),
    # An image that never gets ready is found out in 12 s, not in 90.
    "hasher": {**MONITOR, "healthcheck": {"start_period": "6s", "interval": "3s"}},
}

LATER = "ENV LOG_LEVEL=warning"
"""What a later image sets; the user sets nothing of that."""

BROKEN = {"rng": 'ENTRYPOINT ["false"]', "hasher": "ENV PORT=50152"}
"""One that ends, and one that is ready on a port that no client knows."""


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
        told = json.loads(docker("inspect", "--format", "{{json .Config.Env}}", stack.containers("worker")[0]))
        assert {LATER.removeprefix("ENV "), "PACE=full"} <= set(told)
        assert not [variable for variable in told if "=" not in variable or "OTEL" in variable]
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


def run(stack: SwarmStack, command: str) -> None:
    started = time.time()
    file = "--compose-file deploy/swarm/stack.yaml"
    printed = stack.shell(
        command.replace(file, f'{file} --compose-file "$OVERLAY"').replace("deploy -", "deploy --resolve-image never -")
    )
    settle(stack, command)
    check(stack, command, printed, started)


@pytest.mark.parametrize("command", commands()[len(NOT_HERE) : LAST])
def test_a_command_of_the_page_does_what_it_says(stack: SwarmStack, command: str) -> None:
    run(stack, command)


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
    run(stack, commands()[LAST])
    stack.wait_for(lambda: len(stack.exit_codes("worker", began)) >= 2)
    assert stack.exit_codes("worker", began) == [0] * 2
    for command in commands()[LAST + 1 :]:
        run(stack, command)
    stack.wait_for(lambda: not stack.left())
    volumes = docker("volume", "ls", "--quiet", "--filter", f"name={stack.name}_").split()
    assert volumes == [f"{stack.name}_redis"]
