"""Every grpcurl command of the documentation that shows a certificate, with the real grpcurl, on real processes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.certificates import Authority
from support.grpcurl_commands import grpcurl_commands
from support.service_process import ServiceProcesses

SCRIPTS = Path(sys.executable).parent

COMMANDS = [command for command in grpcurl_commands("docs/probing.md") if "-cacert" in command]

EXPECTED = {
    r"operator.* list$": r"dockercoins\.rng\.v1\.RngService\n.*grpc\.health\.v1\.Health",
    r"operator.*Health/Check$": r'"status": "SERVING"',
    r"operator.*Channelz/GetServers$": r'"calls_?[sS]tarted": "\d+"',
    r"operator.*GetRandomBytes$": r"PermissionDenied(?s:.*)is for worker; this certificate is of operator",
    r"worker.*GetRandomBytes$": r'"data": "[A-Za-z0-9+/]{22}=="',
    r"worker.*StreamHashes$": r'"digests": "[A-Za-z0-9+/]{86}=="',
}
"""A pattern of commands, and what each of them must print."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_documentation_works(
    command: str, processes: ServiceProcesses, authority: Authority, tmp_path: Path
) -> None:
    assert shutil.which("grpcurl", path=str(SCRIPTS)), "grpcurl is missing: make test installs it"
    [(_, service)] = re.findall(r"(\$\(docker compose port --index 1 (rng|hasher) \d+\))", command)
    server = processes.start(service, DELAY=0, **authority.issue(service))
    for name in ("operator", "worker"):
        authority.issue(name)
    asked = re.sub(r"\$\(docker compose port [^)]*\)", f"127.0.0.1:{server.port}", command)
    done = subprocess.run(
        ["bash", "-c", asked],
        cwd=tmp_path,  # where the authority keeps its certificates in certs/
        env={**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    [expected] = [output for pattern, output in EXPECTED.items() if re.search(pattern, command)]
    assert re.search(expected, done.stdout + done.stderr, re.DOTALL)


def test_the_documentation_shows_all_there_is_to_try() -> None:
    assert not [pattern for pattern in EXPECTED if not any(re.search(pattern, command) for command in COMMANDS)]
