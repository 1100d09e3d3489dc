import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import Authority
from support.compose_project import grpcurl_commands
from support.programs import environment, run
from support.service_process import ServiceProcess, service_processes

SCRIPTS = Path(sys.executable).parent

COMMANDS = [command for command in grpcurl_commands("docs/probing.md") if "-cacert" in command]

# Patterns of commands, and of what each of them must print.
EXPECTED = {
    r"operator.* list$": r"dockercoins\.rng\.v1\.RngService\n.*grpc\.health\.v1\.Health",
    r"operator.*Health/Check$": r'"status": "SERVING"',
    r"operator.*Channelz/GetServers$": r'"calls_?[sS]tarted": "\d+"',
    r"operator.*GetRandomBytes$": r"PermissionDenied(?s:.*)is for worker; this certificate is of operator",
    r"worker.*GetRandomBytes$": r'"data": "[A-Za-z0-9+/]{22}=="',
    r"worker.*StreamHashes$": r'"digests": "[A-Za-z0-9+/]{86}=="',
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "certs")


@pytest.fixture(scope="module")
def servers(authority: Authority) -> Iterator[dict[str, ServiceProcess]]:
    with service_processes(authority.folder.parent) as processes:
        yield {
            name: processes.start(name, PACE="full", **authority.issue(name, name, "localhost"))
            for name in ("rng", "hasher")
        }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_probing_command_of_the_documentation_works(
    command: str, servers: dict[str, ServiceProcess], authority: Authority
) -> None:
    [expected] = [output for pattern, output in EXPECTED.items() if re.search(pattern, command)]
    [service] = re.findall(r"\$\(docker compose port --index 1 (rng|hasher) \d+\)", command)
    for name in ("operator", "worker"):
        authority.issue(name)
    command = re.sub(r"\$\(docker compose port [^)]*\)", f"127.0.0.1:{servers[service].port}", command)
    variables = environment(PATH=f"{SCRIPTS}:{os.environ['PATH']}")
    # The authority keeps its certificates there, in certs/.
    done = run("bash", "-c", command, cwd=authority.folder.parent, env=variables)
    assert re.search(expected, done.stdout + done.stderr, re.DOTALL)


def test_a_load_test_shows_its_certificate_to_a_named_service_and_encrypts_nothing_with_its_own(
    servers: dict[str, ServiceProcess], authority: Authority
) -> None:
    target = ("--rng-target", f"dns:///localhost:{servers['rng'].port}")
    points = ("--modes", "stream,unary", "--batch-sizes", "16")
    short = ("--duration", "0.5", "--warm-up", "0.2", "--repeat", "1")
    words = ("-m", "load_test", *target, *points, *short, "--format", "json")
    done = run(sys.executable, *words, env=environment(**authority.issue("worker")))
    assert done.returncode == 0, done.stderr
    assert re.findall(r"TLS_CERT is not used with the (\w+) that is started here", done.stderr) == ["hasher"]
    assert all(point["runs"][0]["hashes"] > 0 for point in json.loads(done.stdout)["points"])
