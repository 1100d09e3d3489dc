"""The overlay that encrypts everything: nothing made before, one line, and nobody gets in who should not."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

import grpc
import pytest
from support.compose_project import ComposeProject, Start, docker

FILES = ("compose.yaml", "compose.tls.yaml")
SERVICES = ("rng", "hasher", "worker", "webui", "redis")
WAIT = 10.0

OWNERS = {**dict.fromkeys(("rng", "hasher", "worker", "webui"), "10001:10001"), "redis": "999:999"}
EXTRA = {"worker": {"redis-password": "600"}, "webui": {"redis-password": "600"}, "redis": {"users.acl": "644"}}

PLAIN_REDIS = """
import socket, sys
with socket.create_connection(("redis", 6379), 5) as plain:
    plain.sendall(b"PING\\r\\n")
    try:
        answer = plain.recv(100)
    except ConnectionResetError:
        answer = b""
sys.exit(b"PONG" in answer)
"""

REDIS_WITHOUT_CERTIFICATE = """
import socket, ssl, sys
trusting = ssl.create_default_context(cafile="/run/certs/ca.pem")
try:
    with trusting.wrap_socket(socket.create_connection(("redis", 6379), 5), server_hostname="redis") as nobody:
        nobody.sendall(b"PING\\r\\n")
        answer = nobody.recv(100)
except OSError as error:
    print(error)
    answer = b""
sys.exit(b"PONG" in answer)
"""


@pytest.fixture(scope="module")
def project(make_module_project: Start) -> ComposeProject:
    project = make_module_project(files=FILES)
    project.up()
    return project


def counted(project: ComposeProject) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{project.page}/json", timeout=5) as response:
        return int(json.load(response)["hashes"])


def wait_until_counted(project: ComposeProject, more_than: int) -> None:
    """The page may have no Redis meanwhile, and says so with a 503."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            if counted(project) > more_than:
                return
        except urllib.error.HTTPError as error:
            error.close()
        assert time.monotonic() < deadline, project.logs()
        time.sleep(0.1)


def inside(project: ComposeProject, service: str, *words: str) -> str:
    return project.ask("exec", "--no-TTY", service, *words)


def state(project: ComposeProject, service: str) -> Any:
    (container,) = project.containers(service)
    return container["State"]


def test_one_line_makes_all_that_it_takes_and_mines(project: ComposeProject) -> None:
    assert {name: state(project, name)["Health"]["Status"] for name in SERVICES} == dict.fromkeys(SERVICES, "healthy")
    certs = state(project, "certs")
    assert (certs["Status"], certs["ExitCode"]) == ("exited", 0)
    wait_until_counted(project, more_than=0)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_its_own_files_alone_and_nobody_else_reads_its_key(project: ComposeProject, service: str) -> None:
    listed = inside(project, service, "sh", "-c", "cd /run/certs && stat --format '%n %a %u:%g' $(ls -A)")
    files = {name: (mode, owner) for name, mode, owner in (line.split() for line in listed.splitlines())}
    modes = {"ca.pem": "644", f"{service}.pem": "644", f"{service}-key.pem": "600", **EXTRA.get(service, {})}
    assert files == {name: (mode, OWNERS[service]) for name, mode in modes.items()}
    assert project.run("exec", "--no-TTY", service, "touch", "/run/certs/ca.pem").returncode


@pytest.mark.parametrize(("service", "port"), [("rng", 50_051), ("hasher", 50_151)])
def test_a_server_answers_nobody_who_shows_no_certificate(project: ComposeProject, service: str, port: int) -> None:
    address = project.ask("port", service, str(port)).strip()
    trusted = grpc.ssl_channel_credentials(inside(project, service, "cat", "/run/certs/ca.pem").encode())
    named = (("grpc.ssl_target_name_override", service),)
    for channel in (grpc.insecure_channel(address), grpc.secure_channel(address, trusted, options=named)):
        with channel, pytest.raises(grpc.FutureTimeoutError):
            grpc.channel_ready_future(channel).result(timeout=2)
    # The same door is open to whoever has one, or else it would prove nothing that it is shut.
    key, certificate = (
        docker("run", "--rm", "--network", "none", "--volume", f"{project.name}_certs-operator:/certs:ro",
               "redis:8", "cat", f"/certs/operator{end}").encode()
        for end in ("-key.pem", ".pem")
    )  # fmt: skip
    authority = inside(project, service, "cat", "/run/certs/ca.pem").encode()
    known = grpc.ssl_channel_credentials(authority, key, certificate)
    with grpc.secure_channel(address, known, options=named) as channel:
        grpc.channel_ready_future(channel).result(timeout=5)


@pytest.mark.parametrize("script", [PLAIN_REDIS, REDIS_WITHOUT_CERTIFICATE])
def test_redis_answers_nobody_who_shows_no_certificate(project: ComposeProject, script: str) -> None:
    inside(project, "webui", "python", "-c", script)


def test_a_certificate_without_a_password_only_lets_one_ping(project: ComposeProject) -> None:
    with_certificate = ["redis-cli", "--tls", "--cert", "/run/certs/redis.pem", "--key", "/run/certs/redis-key.pem",
                        "--cacert", "/run/certs/ca.pem"]  # fmt: skip
    as_health = [*with_certificate, "--user", "health", "--pass", "any", "--no-auth-warning"]
    assert inside(project, "redis", *with_certificate, "ping").startswith("NOAUTH")
    assert inside(project, "redis", *as_health, "ping").strip() == "PONG"
    for refused in (["get", "hashes"], ["flushall"], ["acl", "whoami"]):
        assert inside(project, "redis", *as_health, *refused).startswith("NOPERM")


def test_a_redis_that_is_started_again_has_all_that_was_counted(project: ComposeProject) -> None:
    before = counted(project)
    assert before > 0
    project.ask("kill", "redis")
    project.up("--no-recreate")
    wait_until_counted(project, more_than=before)
    assert "redis is behind" not in project.logs("worker")


def test_no_password_is_in_an_environment_a_command_or_a_log(project: ComposeProject) -> None:
    shown = json.dumps(project.containers()) + project.logs()
    arguments = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    shown += inside(project, "redis", "sh", "-c", arguments) + inside(project, "worker", "sh", "-c", arguments)
    for service in ("worker", "webui"):
        password = inside(project, service, "cat", "/run/certs/redis-password").strip()
        assert len(password) >= 32
        assert password not in shown


def test_nothing_is_made_again_that_is_good(project: ComposeProject) -> None:
    before = inside(project, "worker", "sha256sum", "/run/certs/worker.pem", "/run/certs/redis-password")
    project.up("--no-recreate")
    assert inside(project, "worker", "sha256sum", "/run/certs/worker.pem", "/run/certs/redis-password") == before
    assert project.logs("certs").strip().endswith("nothing is due")


def test_replicas_share_the_work_and_each_hash_is_counted_once(project: ComposeProject) -> None:
    project.up("--no-recreate", "--scale", "worker=2", "--scale", "rng=2")
    wait_until_counted(project, more_than=counted(project) + 20)
    project.stop("worker")
    logged = project.hashes_logged()
    deadline = time.monotonic() + WAIT
    while counted(project) < logged and time.monotonic() < deadline:
        time.sleep(0.1)  # the page follows Redis, a second behind
    assert counted(project) == logged > 0
    assert {name: code for name, code in project.exit_codes().items() if "worker" in name or "certs" in name} == {
        f"/{project.name}-{name}": 0 for name in ("worker-1", "worker-2", "certs-1")
    }


def test_it_goes_away_whole(project: ComposeProject) -> None:
    project.ask("down", "--volumes")
    for kind in (("volume",), ("network",), ("container", "--all")):
        listed = docker(
            kind[0], "ls", *kind[1:], "--quiet", "--filter", f"label=com.docker.compose.project={project.name}"
        )
        assert not listed.strip()
