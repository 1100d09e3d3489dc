"""The overlay that encrypts everything: nothing made before, one line, and no connection without a certificate."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from support.compose_project import ComposeProject, docker
from support.waiting import wait_until

SERVICES = ("rng", "hasher", "worker", "webui", "redis")

OWNERS = {**dict.fromkeys(("rng", "hasher", "worker", "webui"), "10001:10001"), "redis": "999:999"}
EXTRA = {"worker": {"redis-password": "600"}, "webui": {"redis-password": "600"}, "redis": {"users.acl": "644"}}

WITHOUT_CERTIFICATE = """
import socket, ssl, sys
connection = socket.create_connection(("redis", 6379), 5)
answer = b""
try:
    if sys.argv[1] == "encrypted":
        trusting = ssl.create_default_context(cafile="/run/certs/ca.pem")
        connection = trusting.wrap_socket(connection, server_hostname="redis")
    connection.sendall(b"PING\\r\\n")
    answer = connection.recv(100)
except OSError as error:
    print(error)
sys.exit(b"PONG" in answer)
"""

REDIS_CLI = ("redis-cli", "--tls", "--cert", "/run/certs/redis.pem", "--key", "/run/certs/redis-key.pem",
             "--cacert", "/run/certs/ca.pem", "--no-auth-warning")  # fmt: skip


@pytest.fixture(scope="module")
def encrypted(tag: str) -> Iterator[ComposeProject]:
    project = ComposeProject(tag, files=("compose.yaml", "compose.tls.yaml"))
    try:
        project.ask("build", "certs")
        project.up()
        yield project
    finally:
        project.down()


def hashes(project: ComposeProject) -> int:
    """Return what webui's user reads, with webui's certificate and password."""
    code = "import sys, json, urllib.request as u; print(json.load(u.urlopen('http://127.0.0.1:8000/json'))['hashes'])"
    return int(project.run("exec", "--no-TTY", "webui", "python", "-c", code).stdout or 0)


def state(project: ComposeProject, service: str) -> Any:
    (container,) = project.containers(service)
    return container["State"]


def test_one_line_makes_all_that_it_takes_and_mines(encrypted: ComposeProject) -> None:
    assert {state(encrypted, name)["Health"]["Status"] for name in SERVICES} == {"healthy"}
    certs = state(encrypted, "certs")
    assert (certs["Status"], certs["ExitCode"]) == ("exited", 0)
    wait_until(lambda: hashes(encrypted) > 0, 30, encrypted.logs)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_its_own_files_alone_and_no_other_user_reads_its_key(
    encrypted: ComposeProject, service: str
) -> None:
    listed = encrypted.inside(service, "sh", "-c", "cd /run/certs && stat --format '%n %a %u:%g' $(ls -A)")
    files = {name: (mode, owner) for name, mode, owner in (line.split() for line in listed.splitlines())}
    modes = {"ca.pem": "644", f"{service}.pem": "644", f"{service}-key.pem": "600", **EXTRA.get(service, {})}
    assert files == {name: (mode, OWNERS[service]) for name, mode in modes.items()}
    assert encrypted.run("exec", "--no-TTY", service, "touch", "/run/certs/ca.pem").returncode


@pytest.mark.parametrize(("service", "port"), [("rng", 50_051), ("hasher", 50_151)])
def test_a_server_talks_to_a_client_with_a_certificate_alone(
    encrypted: ComposeProject, service: str, port: int
) -> None:
    address = encrypted.ask("port", service, str(port)).strip()
    authority = encrypted.inside(service, "cat", "/run/certs/ca.pem").encode()
    key, certificate = (
        docker("run", "--rm", "--network", "none", "--volume", f"{encrypted.name}_certs-operator:/certs:ro",
               "redis:8", "cat", f"/certs/operator{end}").encode()
        for end in ("-key.pem", ".pem")
    )  # fmt: skip
    named = (("grpc.ssl_target_name_override", service),)
    known = grpc.ssl_channel_credentials(authority, key, certificate)
    with grpc.secure_channel(address, known, options=named) as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
    trusting = grpc.ssl_channel_credentials(authority)
    for channel in (grpc.insecure_channel(address), grpc.secure_channel(address, trusting, options=named)):
        with channel, pytest.raises(grpc.FutureTimeoutError):
            grpc.channel_ready_future(channel).result(timeout=1)


def test_redis_talks_to_a_client_with_a_certificate_alone_and_without_a_password_it_may_only_ping(
    encrypted: ComposeProject,
) -> None:
    for way in ("plain", "encrypted"):
        encrypted.inside("webui", "python", "-c", WITHOUT_CERTIFICATE, way)
    as_health = (*REDIS_CLI, "--user", "health", "--pass", "any")
    assert encrypted.inside("redis", *REDIS_CLI, "ping").startswith("NOAUTH")
    assert encrypted.inside("redis", *as_health, "ping").strip() == "PONG"
    assert encrypted.inside("redis", *as_health, "get", "hashes").startswith("NOPERM")


def test_no_password_is_in_an_environment_a_command_or_a_log(encrypted: ComposeProject) -> None:
    shown = json.dumps(encrypted.containers()) + encrypted.logs()
    arguments = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    shown += "".join(encrypted.inside(service, "sh", "-c", arguments) for service in ("redis", "worker"))
    for service in ("worker", "webui"):
        password = encrypted.inside(service, "cat", "/run/certs/redis-password").strip()
        assert len(password) >= 32
        assert password not in shown


def test_another_up_keeps_what_is_valid_and_replicas_and_a_restarted_redis_go_on(encrypted: ComposeProject) -> None:
    files = ("sha256sum", "/run/certs/worker.pem", "/run/certs/redis-password")
    before, counted = encrypted.inside("worker", *files), hashes(encrypted)
    encrypted.ask("kill", "redis")
    encrypted.up("--no-recreate", "--scale", "worker=2", "--scale", "rng=2")
    assert encrypted.inside("worker", *files) == before
    assert encrypted.logs("certs").strip().endswith("nothing is due")
    wait_until(lambda: hashes(encrypted) > counted + 20, 60, encrypted.logs)
    encrypted.stop("worker")
    wait_until(lambda: hashes(encrypted) == encrypted.hashes_logged(), 20, encrypted.logs)
    ended = {name: code for name, code in encrypted.exit_codes().items() if "worker" in name or "certs" in name}
    assert ended == {f"/{encrypted.name}-{name}": 0 for name in ("worker-1", "worker-2", "certs-1")}
