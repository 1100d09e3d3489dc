import json
from collections.abc import Iterator

import grpc
import pytest
from support.compose_project import ComposeProject, docker
from support.waiting import wait_until

SERVICES = ("rng", "hasher", "worker", "webui", "redis")

PASSWORD = {"redis-password": "600"}
# Files beside certificates, with their modes.
EXTRA = {"worker": PASSWORD, "webui": PASSWORD, "redis": {"users.acl": "644"}}


@pytest.fixture(scope="module")
def project(tag: str) -> Iterator[ComposeProject]:
    with ComposeProject(tag, files=("compose.yaml", "compose.tls.yaml")).running() as project:
        yield project


def test_one_line_makes_all_that_it_takes_and_mines(project: ComposeProject) -> None:
    project.wait_for_hashes(0)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_its_own_files_alone_and_no_other_user_reads_its_key(
    project: ComposeProject, service: str
) -> None:
    listed = project.inside(service, "sh", "-c", "cd /run/certs && stat --format '%n %a %u:%g' $(ls -A)")
    modes = {"ca.pem": "644", f"{service}.pem": "644", f"{service}-key.pem": "600", **EXTRA.get(service, {})}
    owner = "999:999" if service == "redis" else "10001:10001"
    assert set(listed.splitlines()) == {f"{name} {mode} {owner}" for name, mode in modes.items()}
    assert project.run("exec", "--no-TTY", service, "touch", "/run/certs/ca.pem").returncode


@pytest.mark.parametrize(("service", "port"), [("rng", "50051"), ("hasher", "50151")])
def test_a_server_talks_to_a_client_with_a_certificate_alone(project: ComposeProject, service: str, port: str) -> None:
    address = project.compose("port", service, port).strip()
    operator = ("run", "--rm", "--volume", f"{project.name}_certs-operator:/certs:ro", "redis:8", "cat")
    authority, key, certificate = (
        docker(*operator, f"/certs/{file}.pem").encode() for file in ("ca", "operator-key", "operator")
    )
    named = (("grpc.ssl_target_name_override", service),)
    known = grpc.ssl_channel_credentials(authority, key, certificate)
    with grpc.secure_channel(address, known, options=named) as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
    trusting = grpc.ssl_channel_credentials(authority)
    for channel in (grpc.insecure_channel(address), grpc.secure_channel(address, trusting, options=named)):
        with channel, pytest.raises(grpc.FutureTimeoutError):
            grpc.channel_ready_future(channel).result(timeout=1)


def test_no_password_is_in_an_environment_a_command_or_a_log(project: ComposeProject) -> None:
    shown = json.dumps(project.containers()) + project.logs()
    arguments = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    shown += "".join(project.inside(service, "sh", "-c", arguments) for service in ("redis", "worker"))
    for service in ("worker", "webui"):
        password = project.inside(service, "cat", "/run/certs/redis-password").strip()
        assert len(password) >= 32
        assert password not in shown


def test_another_up_keeps_what_is_valid_and_replicas_and_a_restarted_redis_go_on(project: ComposeProject) -> None:
    files = ("sha256sum", "/run/certs/worker.pem", "/run/certs/redis-password")
    before, counted = project.inside("worker", *files), project.hashes()
    project.compose("kill", "redis")
    project.up("--no-recreate", "--scale", "worker=2", "--scale", "rng=2")
    assert project.inside("worker", *files) == before
    assert project.logs("certs").strip().endswith("nothing is due")
    project.wait_for_hashes(counted + 20)
    project.stop("worker")
    wait_until(lambda: project.hashes() == project.hashes_logged(), story=project.logs)
    ended = {name: code for name, code in project.exit_codes().items() if "worker" in name or "certs" in name}
    assert ended == {f"/{project.name}-{name}": 0 for name in ("worker-1", "worker-2", "certs-1")}
