"""One rng and one hasher with certificates, as processes: refusals, logs, and the commands of the documentation."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest
from support.certificates import Authority
from support.grpcurl_commands import grpcurl_commands
from support.served import RNG
from support.service_process import KEPT, ServiceProcess, service_processes
from support.waiting import wait_until

NAMES = ("rng", "hasher")

SCRIPTS = Path(sys.executable).parent

COMMANDS = [command for command in grpcurl_commands("docs/probing.md") if "-cacert" in command]

SHORT = ("--duration", "0.5", "--warm-up", "0.2", "--repeat", "1", "--batch-sizes", "16", "--format", "json")

Files = Mapping[str, str]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "certs")


@pytest.fixture(scope="module")
def servers(authority: Authority) -> Iterator[dict[str, ServiceProcess]]:
    settings: dict[str, str] = {"PACE": "full", "LOG_FORMAT": "json"}
    with service_processes(authority.folder.parent) as processes:
        yield {
            name: processes.start(name, INSTANCE=name, **settings, **authority.issue(name, name, "localhost"))
            for name in NAMES
        }


@pytest.fixture
def rng(servers: dict[str, ServiceProcess]) -> ServiceProcess:
    return servers["rng"]


def logged(process: ServiceProcess, event: str, **fields: str) -> list[dict[str, Any]]:
    """The lines of these events whose fields begin so."""
    lines = [json.loads(line) for line in process.text.splitlines() if line.startswith("{")]
    return [
        line
        for line in lines
        if line["event"] == event and all(str(line[name]).startswith(value) for name, value in fields.items())
    ]


def call(rng: ServiceProcess, files: Files | None) -> grpc.StatusCode:
    """How a call ends that shows this certificate, or that is not encrypted."""
    target = f"127.0.0.1:{rng.port}"
    options = (("grpc.default_authority", "rng"), ("grpc.use_local_subchannel_pool", 1))
    if files is None:
        channel = grpc.insecure_channel(target, options)
    else:
        pem = [Path(files[name]).read_bytes() if name in files else None for name in ("TLS_CA", "TLS_KEY", "TLS_CERT")]
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(*pem), options)
    with channel:
        method: Any = channel.unary_unary(f"/{RNG}/GetRandomBytes")
        try:
            method(GetRandomBytesRequest(size=16).SerializeToString(), timeout=20)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK


def expired(authority: Authority, _: Path) -> Files:
    return authority.issue("expired", "worker", not_after=datetime.now(UTC) - timedelta(days=1))


def self_signed(authority: Authority, folder: Path) -> Files:
    return {**Authority(folder / "self").own, "TLS_CA": str(authority.file)}


def of_another(authority: Authority, folder: Path) -> Files:
    return {**Authority(folder / "another").issue("worker"), "TLS_CA": str(authority.file)}


def none_at_all(authority: Authority, _: Path) -> Files:
    return {"TLS_CA": str(authority.file)}


def not_encrypted(_: Authority, __: Path) -> None:
    return None


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (expired, "CERTIFICATE_VERIFY_FAILED: certificate has expired"),
        (self_signed, "CERTIFICATE_VERIFY_FAILED: self signed certificate"),
        (of_another, "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate"),
        (none_at_all, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        (not_encrypted, "(WRONG_VERSION_NUMBER|HTTP)"),
    ],
)
def test_a_bad_handshake_is_refused_with_the_reason_in_the_log(
    rng: ServiceProcess,
    authority: Authority,
    tmp_path: Path,
    make: Callable[[Authority, Path], Files | None],
    reason: str,
) -> None:
    assert call(rng, make(authority, tmp_path)) is grpc.StatusCode.UNAVAILABLE
    rng.wait_for(rf'"reason": "{reason}')
    lines = [line for line in logged(rng, "handshake failed") if re.match(reason, line["reason"])]
    assert {line["level"] for line in lines} == {"warning"}
    assert call(rng, authority.issue("worker")) is grpc.StatusCode.OK


def test_many_refusals_are_few_lines_that_count_them_all(
    rng: ServiceProcess, authority: Authority, tmp_path: Path
) -> None:
    reason = "CERTIFICATE_VERIFY_FAILED: self signed certificate"

    def counted() -> int:
        return sum(int(line["times"]) for line in logged(rng, "handshake failed", reason=reason))

    before, lines = counted(), len(logged(rng, "handshake failed", reason=reason))
    files = self_signed(authority, tmp_path)
    for _ in range(20):
        assert call(rng, files) is grpc.StatusCode.UNAVAILABLE
    wait_until(lambda: counted() >= before + 20)
    assert len(logged(rng, "handshake failed", reason=reason)) - lines <= 5
    assert "ssl_transport_security" not in rng.text


def test_a_caller_with_another_name_is_refused_with_both_names_in_the_log(
    rng: ServiceProcess, authority: Authority
) -> None:
    assert call(rng, authority.issue("webui")) is grpc.StatusCode.PERMISSION_DENIED
    rng.wait_for("caller refused")
    [line] = logged(rng, "caller refused")
    assert (line["method"], line["names"], line["allowed"]) == ("GetRandomBytes", "webui", "worker")
    assert line["peer"].startswith("ipv4:127.0.0.1:")


EXPECTED = {
    r"operator.* list$": r"dockercoins\.rng\.v1\.RngService\n.*grpc\.health\.v1\.Health",
    r"operator.*Health/Check$": r'"status": "SERVING"',
    r"operator.*Channelz/GetServers$": r'"calls_?[sS]tarted": "\d+"',
    r"operator.*GetRandomBytes$": r"PermissionDenied(?s:.*)is for worker; this certificate is of operator",
    r"worker.*GetRandomBytes$": r'"data": "[A-Za-z0-9+/]{22}=="',
    r"worker.*StreamHashes$": r'"digests": "[A-Za-z0-9+/]{86}=="',
}
"""A pattern of commands, and what each of them must print."""


@pytest.mark.parametrize("pattern", EXPECTED)
def test_a_probing_command_of_the_documentation_works(
    pattern: str, servers: dict[str, ServiceProcess], authority: Authority
) -> None:
    assert shutil.which("grpcurl", path=str(SCRIPTS)), "grpcurl is missing: make test-system installs it"
    [command] = [command for command in COMMANDS if re.search(pattern, command)]
    [service] = re.findall(r"\$\(docker compose port --index 1 (rng|hasher) \d+\)", command)
    for name in ("operator", "worker"):
        authority.issue(name)
    done = subprocess.run(
        ["bash", "-c", re.sub(r"\$\(docker compose port [^)]*\)", f"127.0.0.1:{servers[service].port}", command)],
        cwd=authority.folder.parent,  # where the authority keeps its certificates in certs/
        env={**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert re.search(EXPECTED[pattern], done.stdout + done.stderr, re.DOTALL)


def test_every_probing_command_is_tried() -> None:
    assert not [command for command in COMMANDS if not any(re.search(pattern, command) for pattern in EXPECTED)]


def load_test(files: Files, *words: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    command = [sys.executable, "-m", "worker_svc", "load-test", *SHORT, *words]
    return subprocess.run(command, env={**kept, **files}, capture_output=True, text=True, timeout=120, check=False)


def targets(servers: Mapping[str, ServiceProcess]) -> list[str]:
    return [word for name in NAMES for word in (f"--{name}-target", f"dns:///localhost:{servers[name].port}")]


@pytest.mark.parametrize("mode", ["stream", "unary"])
def test_a_load_test_of_named_services_shows_its_certificate(
    servers: dict[str, ServiceProcess], authority: Authority, mode: str
) -> None:
    done = load_test(authority.issue("worker"), *targets(servers), "--modes", mode)
    assert done.returncode == 0, done.stderr
    assert "is not used" not in done.stderr
    [result] = json.loads(done.stdout)["points"]
    assert result["runs"][0]["hashes"] > 0


def test_a_load_test_with_another_name_says_that_it_is_refused(
    servers: dict[str, ServiceProcess], authority: Authority
) -> None:
    done = load_test(authority.issue("webui"), *targets(servers), "--modes", "stream")
    assert done.returncode == 1
    assert "PERMISSION_DENIED" in done.stderr


def test_a_load_test_of_services_of_its_own_encrypts_nothing_and_says_so(authority: Authority) -> None:
    done = load_test(authority.issue("worker"))
    assert done.returncode == 0, done.stderr
    for service in NAMES:
        assert f"TLS_CERT is not used with the {service} that is started here" in done.stderr


def test_servers_stop_well_after_all_that(servers: dict[str, ServiceProcess]) -> None:
    assert [server.stop(limit=30) for server in servers.values()] == [0, 0]
