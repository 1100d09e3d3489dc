"""Every grpcurl command of the documentation, with the real grpcurl, on the containers."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.compose_project import ROOT, ComposeProject
from support.grpcurl_commands import grpcurl_commands

SCRIPTS = Path(sys.executable).parent

EXPECTED = {
    r"rng 50051\) list$": r"dockercoins\.rng\.v1\.RngService\n.*grpc\.health\.v1\.Health",
    r"describe dockercoins\.rng\.v1\.RngService$": r"rpc StreamRandomBytes \( stream ",
    r"list dockercoins\.hasher": r"dockercoins\.hasher\.v1\.HasherService\.StreamHashes",
    r"describe dockercoins\.hasher\.v1\.HashRequest$": r"bytes data = 1;",
    r"describe \S+HasherService.Hash$": r"rpc Hash \( \.dockercoins\.hasher\.v1\.HashRequest \)",
    r'"size": 16.*GetRandomBytes$': r'"data": "[A-Za-z0-9+/]{22}==",\s+"served_?[bB]y": "[0-9a-f]{12}"',
    r"/Hash$": r'"hex_?[dD]igest": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"',
    r'"count": 2.*StreamRandomBytes$': r'"batch_?[iI]d": "1"(?s:.*)"batch_?[iI]d": "2"',
    r'"message_size": 3.*StreamHashes$': r'served-by: [0-9a-f]{12}(?s:.*)"digests": "[A-Za-z0-9+/]{86}=="',
    r"Health/Check$": r'"status": "SERVING"',
    r"Health/Watch$": r'"status": "SERVING"(?s:.*)DeadlineExceeded',
    r'"size": 0.*GetRandomBytes$': r"InvalidArgument(?s:.*)size: 0 is not allowed(?s:.*)BadRequest",
    r'"message_size": 4.*StreamHashes$': r"InvalidArgument(?s:.*)message_size(?s:.*)BadRequest",
    r"Channelz/GetServers$": r'"calls_?[sS]tarted": "\d+"',
}
"""A pattern of commands, and what each of them must print."""


def commands(page: str) -> list[str]:
    """The page's commands for services without certificates; tests/integration/tls tries the others."""
    return [command for command in grpcurl_commands(page) if "-cacert" not in command]


def run(command: str, project: ComposeProject) -> str:
    """What a shell prints that stands in the checkout of somebody who has this project only."""
    assert shutil.which("grpcurl", path=str(SCRIPTS)), "grpcurl is missing: make test installs it"
    environment = project.environment()
    environment |= {"COMPOSE_PROJECT_NAME": project.name, "PATH": f"{SCRIPTS}:{environment['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("command", commands("docs/probing.md"))
def test_a_command_of_the_documentation_works(command: str, classic: ComposeProject) -> None:
    expected = [output for pattern, output in EXPECTED.items() if re.search(pattern, command)]
    assert len(expected) == 1
    assert re.search(expected[0], run(command, classic), re.DOTALL)


def test_the_documentation_shows_all_there_is_to_try() -> None:
    page = "\n".join(commands("docs/probing.md"))
    assert not [pattern for pattern in EXPECTED if not re.search(pattern, page, re.MULTILINE)]


@pytest.mark.parametrize("command", commands("README.md"))
def test_a_command_of_the_readme_works(command: str, classic: ComposeProject) -> None:
    for service, port in (("rng", 50051), ("hasher", 50151)):
        address = classic.ask("port", "--index", "1", service, str(port)).strip()
        command = command.replace(f"localhost:{port}", address)
    output = run(command, classic)
    assert "command not found" not in output
    assert "Failed to dial" not in output
    assert bool(re.search("ERROR|Error", output)) == ('"size": 0' in command)
