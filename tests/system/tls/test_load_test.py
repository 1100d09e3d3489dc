"""The load test with certificates: those that are named are asked with them, its own are not."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest
from support.certificates import Authority
from support.service_process import KEPT, ServiceProcesses

from bench.dns_server import dns_server

SHORT = ("--duration", "0.5", "--warm-up", "0.2", "--repeat", "1", "--batch-sizes", "16", "--format", "json")


def load_test(settings: Mapping[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    command = [sys.executable, "-m", "worker_svc", "load-test", *SHORT, *words]
    return subprocess.run(command, env={**kept, **settings}, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("mode", ["stream", "unary"])
def test_named_services_are_asked_with_certificates(
    processes: ServiceProcesses, authority: Authority, mode: str
) -> None:
    servers = [processes.start(service, PACE="full", **authority.issue(service)) for service in ("rng", "hasher")]
    with dns_server("rng.test", "hasher.test") as dns:
        words = []
        for service, server in zip(("rng", "hasher"), servers, strict=True):
            dns.addresses[f"{service}.test"].append("127.0.0.1")
            words += [f"--{service}-target", dns.target(f"{service}.test", server.port)]
        done = load_test(authority.issue("worker"), *words, "--modes", mode)
        refused = load_test(authority.issue("webui"), *words)
    assert done.returncode == 0, done.stderr
    assert "is not used" not in done.stderr
    [result] = json.loads(done.stdout)["points"]
    assert result["runs"][0]["hashes"] > 0
    assert refused.returncode == 1
    assert "PERMISSION_DENIED" in refused.stderr


def test_those_started_here_are_not_and_it_says_so(authority: Authority) -> None:
    done = load_test(authority.issue("worker"))
    assert done.returncode == 0, done.stderr
    for service in ("rng", "hasher"):
        assert f"TLS_CERT is not used with the {service} that is started here" in done.stderr


def test_a_target_without_a_name_is_refused(authority: Authority) -> None:
    done = load_test(authority.issue("worker"), "--rng-target", "ipv4:127.0.0.1:50051")
    assert done.returncode == 2
    assert "RNG_TARGET='ipv4:127.0.0.1:50051' is not allowed with TLS_CERT" in done.stderr
