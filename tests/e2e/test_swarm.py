"""The stack on a real swarm of one node: grown, rolled to another tag, given broken images, and removed."""

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest
import yaml
from e2e.witnessed_project import BATCH_SIZE, FAIR_SHARE, FULL, SPEED_OF_ONE, WINDOW, same_clock, witness
from support.compose_project import derive, docker
from support.swarm_stack import STACK, SwarmStack, engine_time, state

from bench.witness import Evidence
from chassis.limits import DIGEST_SIZE

MINERS = ("rng", "hasher", "worker")
SERVICES = (*MINERS, "webui", "redis")
WITNESSES = ("rng", "hasher")

SPEED_WINDOW = 1.0
"""Seconds in which a speed is counted."""

FLOOR = 0.5
"""Part of the speed that is there all the time."""

SHARED_WITHIN = 5.0
"""Seconds after they are healthy in which new replicas have their share; three, and a window and a look at it."""

CHANGED_WITHIN = 120.0
"""Seconds in which Swarm rolls two tasks of each service, or rolls them back."""

QUICK_HEALTH = {"start_period": "6s", "interval": "3s"}
"""Of hasher: an image that never gets ready is found out in 12 s, not in 90."""

# What a later image sets; nothing that the user sets.
LATER = "ENV LOG_LEVEL=warning"

# One that ends, and one that is ready on a port that no client knows.
BROKEN = {"rng": 'ENTRYPOINT ["false"]', "hasher": "ENV PORT=50152"}

BOTH = 2
"""Replicas of each, so that one can be rolled after the other."""

HEALTH_CHECK_STORY = """
import json, os, subprocess, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer

answers = {}

class Stub(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(answers[self.path])
        self.end_headers()

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Stub)
threading.Thread(target=server.serve_forever, daemon=True).start()
codes = []
for readyz, healthz in ((503, 200), (200, 200), (503, 200), (503, 503)):
    answers.update({"/readyz": readyz, "/healthz": healthz})
    port = {"METRICS_PORT": str(server.server_port)}
    codes.append(subprocess.run(json.loads(sys.argv[1]), env={**os.environ, **port}).returncode)
print(codes)
"""


@dataclass
class Story:
    """What was seen."""

    page: int = 0
    """Hashes that it shows."""
    found: dict[str, int] = field(default_factory=dict)
    """Addresses that a name leads to, by service."""
    shown: str = ""
    """All that the engine tells of the stack."""
    passwords: list[str] = field(default_factory=list)
    shares: dict[str, list[float]] = field(default_factory=dict)
    """Of each replica, by service, when all were first seen to have theirs."""
    speed: float = 0
    """Batches/s of the slower service at that moment."""
    rolled_to: dict[str, set[str]] = field(default_factory=dict)
    """Tags of what runs after the roll, by service."""
    rolled_environment: list[str] = field(default_factory=list)
    """Variables of a worker after the roll."""
    roll_states: dict[str, str] = field(default_factory=dict)
    roll_slowest: dict[str, float] = field(default_factory=dict)
    """Batches/s, by service."""
    old_workers: list[int] = field(default_factory=list)
    """Exit codes of the workers that were replaced."""
    broken_states: dict[str, str] = field(default_factory=dict)
    broken_ran: dict[str, int] = field(default_factory=dict)
    """Tasks of a broken image that there were."""
    broken_left: dict[str, set[str]] = field(default_factory=dict)
    """Tags of what runs after the broken images, by service."""
    broken_slowest: dict[str, float] = field(default_factory=dict)
    redis_tasks: int = 0
    last_workers: list[int] = field(default_factory=list)
    """Exit codes of the workers that were there to the end."""
    hashed: int = -1
    in_redis: int = -1
    left: dict[str, str] = field(default_factory=dict)
    kept: str = ""


@pytest.fixture(scope="module")
def tags(tag: str) -> Iterator[tuple[str, str]]:
    """Tags of images that differ from the session's: later ones, and broken ones."""
    later, broken = f"{tag}-later", f"{tag}-broken"
    made = []
    for name, lines in {
        **{f"{service}:{later}": LATER for service in (*MINERS, "webui")},
        **{f"{service}:{broken}": lines for service, lines in BROKEN.items()},
    }.items():
        derive(f"dockercoins-grpc/{name.split(':')[0]}:{tag}", f"dockercoins-grpc/{name}", lines)
        made.append(f"dockercoins-grpc/{name}")
    yield later, broken
    docker("image", "rm", "--force", *made)


def addresses(stack: SwarmStack) -> dict[str, int]:
    """What a worker finds in DNS."""
    code = "import socket; print(len({a[4] for a in socket.getaddrinfo('%s', 1, type=socket.SOCK_STREAM)}))"
    worker = stack.containers("worker")[0]
    return {service: int(docker("exec", worker, "python", "-c", code % service)) for service in SERVICES}


def on_the_page(stack: SwarmStack) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.page}/json", timeout=5) as response:
        return int(json.load(response)["hashes"])


def running_tags(stack: SwarmStack, service: str) -> set[str]:
    return {task["Spec"]["ContainerSpec"]["Image"].rpartition(":")[2] for task in stack.running(service)}


def told(stack: SwarmStack) -> str:
    services = docker("stack", "services", "--quiet", stack.name).split()
    configs = docker("config", "ls", "--quiet", "--filter", f"name={stack.name}").split()
    containers = [container for service in SERVICES for container in stack.containers(service)]
    arguments = [
        docker("exec", container, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '") for container in containers
    ]
    return docker("inspect", *services, *configs, *containers) + "".join(arguments) + stack.story()


def grow(stack: SwarmStack, evidence: dict[str, Evidence], story: Story) -> None:
    stack.scale(rng=BOTH, hasher=BOTH, worker=BOTH)
    stack.wait_until_running(*MINERS)
    stack.wait_for(lambda: shared(evidence, story), limit=SHARED_WITHIN)
    story.found = addresses(stack)


def shared(evidence: dict[str, Evidence], story: Story) -> bool:
    """Whether all have their share at this moment; the story keeps what that is judged by."""
    now = time.monotonic()
    story.shares = {service: list(each.shares(now - SPEED_WINDOW, now).values()) for service, each in evidence.items()}
    story.speed = min(each.speed(now - SPEED_WINDOW, now) for each in evidence.values())
    return story.speed >= FULL * BOTH * SPEED_OF_ONE and all(
        len(shares) == BOTH and min(shares) >= FAIR_SHARE for shares in story.shares.values()
    )


def roll(stack: SwarmStack, evidence: dict[str, Evidence], story: Story, later: str) -> None:
    """To another tag, as who uses it does: all services that have it, at the same time."""
    began = time.monotonic()
    stack.deploy(TAG=later, RNGS=BOTH, HASHERS=BOTH, WORKERS=BOTH)
    stack.wait_until_updated(*MINERS, "webui", limit=CHANGED_WITHIN)
    story.roll_slowest = slowest(evidence, began)
    story.roll_states = {service: stack.update_state(service) for service in (*MINERS, "webui")}
    story.rolled_to = {service: running_tags(stack, service) for service in (*MINERS, "webui")}
    told = docker("inspect", "--format", "{{json .Config.Env}}", stack.containers("worker")[0])
    story.rolled_environment = json.loads(told)
    story.old_workers = [
        task["Status"]["ContainerStatus"]["ExitCode"] for task in stack.tasks("worker") if state(task) != "running"
    ]


def break_images(stack: SwarmStack, evidence: dict[str, Evidence], story: Story, broken: str) -> None:
    """One of each kind, while Redis is moved to a new task, too."""
    began = time.monotonic()
    before = len(stack.tasks("redis"))
    docker("service", "update", "--detach", "--force", f"{stack.name}_redis")
    for service in BROKEN:
        image = f"dockercoins-grpc/{service}:{broken}"
        docker("service", "update", "--detach", "--no-resolve-image", "--image", image, f"{stack.name}_{service}")
    stack.wait_until_updated(*BROKEN, "redis", limit=CHANGED_WITHIN)
    story.broken_slowest = slowest(evidence, began)
    story.redis_tasks = len(stack.tasks("redis")) - before
    for service in BROKEN:
        story.broken_states[service] = stack.update_state(service)
        story.broken_left[service] = running_tags(stack, service)
        images = [task["Spec"]["ContainerSpec"]["Image"] for task in stack.tasks(service)]
        story.broken_ran[service] = sum(image.endswith(broken) for image in images)


def slowest(evidence: dict[str, Evidence], since: float) -> dict[str, float]:
    now = time.monotonic()
    return {service: each.slowest(since, now, SPEED_WINDOW) for service, each in evidence.items()}


def finish(stack: SwarmStack, evidence: dict[str, Evidence], story: Story) -> None:
    """In the order that docs/swarm.md gives: who reports first, Redis with the rest."""
    before = engine_time()
    stack.scale(worker=0)
    stack.wait_for(lambda: len(stack.ended("worker", before)) >= BOTH, limit=30)
    story.last_workers = stack.ended("worker", before)
    story.in_redis = stack.hashes()
    story.hashed = evidence["hasher"].distinct_bytes // DIGEST_SIZE
    stack.remove()
    story.left = stack.left()
    story.kept = docker("volume", "ls", "--quiet", "--filter", f"name={stack.name}_").strip()


@pytest.fixture(scope="module")
def story(swarm: None, tag: str, tags: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("witnesses")
    folder.chmod(0o711)
    evidence = {service: Evidence(folder / service) for service in WITNESSES}
    for each in evidence.values():
        each.path.chmod(0o622)  # the images' user is not the one who runs the tests
    services = {service: witness(service, folder) for service in WITNESSES}
    services["hasher"]["healthcheck"] = QUICK_HEALTH
    overlay = folder / "witnesses.json"
    overlay.write_text(json.dumps({"services": services}))
    settings = {"PACE": "full", "BATCH_SIZE": BATCH_SIZE, "WINDOW_SIZE": WINDOW}
    with closing(SwarmStack(tag, (STACK, overlay), **settings)) as stack:
        story = Story(passwords=list(stack.passwords.values()))
        stack.make_secrets()
        stack.deploy()
        stack.wait_until_running(*SERVICES)
        if not same_clock(stack.containers("rng")[0]) and "CI" not in os.environ:
            pytest.skip("the engine has a machine of its own, so what is seen there and here has no common clock")
        stack.wait_for(lambda: on_the_page(stack) > 0, limit=10)
        story.page = on_the_page(stack)
        story.shown = told(stack)
        grow(stack, evidence, story)
        roll(stack, evidence, story, tags[0])
        break_images(stack, evidence, story, tags[1])
        finish(stack, evidence, story)
        yield story
    for each in evidence.values():
        each.close()


def test_a_deployed_stack_mines_and_has_its_page_on_the_nodes_own_port(story: Story) -> None:
    assert story.page > 0


def test_no_password_is_in_what_the_engine_shows(story: Story) -> None:
    assert "redis-server" in story.shown
    assert len(story.passwords) == 2
    for password in story.passwords:
        assert password not in story.shown


def test_a_name_leads_to_each_task_of_a_service(story: Story) -> None:
    assert story.found == {**dict.fromkeys(MINERS, BOTH), "webui": 1, "redis": 1}


@pytest.mark.parametrize("service", WITNESSES)
def test_new_replicas_get_their_share_and_the_speed_doubles(story: Story, service: str) -> None:
    assert min(story.shares[service]) >= FAIR_SHARE
    assert story.speed >= FULL * BOTH * SPEED_OF_ONE


def test_another_tag_takes_over_everywhere(story: Story, tags: tuple[str, str]) -> None:
    assert story.roll_states == dict.fromkeys((*MINERS, "webui"), "completed")
    assert story.rolled_to == {service: {tags[0]} for service in (*MINERS, "webui")}


def test_what_the_user_sets_reaches_a_task_and_what_the_image_sets_stays(story: Story) -> None:
    assert {LATER.removeprefix("ENV "), "PACE=full"} <= set(story.rolled_environment)
    assert not [variable for variable in story.rolled_environment if "=" not in variable or "OTEL" in variable]


def test_the_speed_stays_over_half_while_all_services_roll(story: Story) -> None:
    assert min(story.roll_slowest.values()) >= FLOOR * BOTH * SPEED_OF_ONE


def test_workers_that_are_replaced_end_well(story: Story) -> None:
    assert story.old_workers == [0] * BOTH


@pytest.mark.parametrize("service", BROKEN)
def test_a_broken_image_is_rolled_back_by_itself(story: Story, service: str, tags: tuple[str, str]) -> None:
    assert story.broken_ran[service] >= 1
    assert story.broken_states[service] == "rollback_completed"
    assert story.broken_left[service] == {tags[0]}


def test_the_speed_stays_over_half_while_images_are_broken_and_redis_moves(story: Story) -> None:
    assert story.redis_tasks == 1
    assert min(story.broken_slowest.values()) >= FLOOR * BOTH * SPEED_OF_ONE


def test_every_hash_of_all_this_is_counted_once(story: Story) -> None:
    assert story.last_workers == [0] * BOTH
    assert story.in_redis == story.hashed > 0


def test_nothing_is_left_but_what_was_mined(story: Story) -> None:
    assert story.left == {}
    assert story.kept.endswith("_redis")


def test_a_worker_is_healthy_when_it_is_ready_and_from_then_on_while_it_is_alive(tag: str) -> None:
    """Otherwise Swarm would end it when Redis is away for long, with all that it has not yet reported."""
    command = yaml.safe_load(STACK.read_text())["services"]["worker"]["healthcheck"]["test"][1:]
    image = f"dockercoins-grpc/worker:{tag}"
    codes = docker("run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none", image,
                   "python", "-c", HEALTH_CHECK_STORY, json.dumps(command))  # fmt: skip
    assert json.loads(codes) == [1, 0, 0, 1]
