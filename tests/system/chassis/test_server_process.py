import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from support.free_port import free_port
from support.programs import environment, run
from support.service_process import ServiceProcesses


def refused_start(name: str, **env: object) -> tuple[int, str, str]:
    """Return the exit code, standard output and standard error of a service that does not start."""
    ended = run(sys.executable, "-m", f"{name}_svc", env=environment(**{"METRICS_PORT": 0, "PORT": 0, **env}))
    return ended.returncode, ended.stdout, ended.stderr


def test_a_bad_setting_is_exit_code_2_and_one_line_in_the_format_of_the_log() -> None:
    cause = "BIND_ADDRESS='192.0.2.1' is not allowed: it must be an address of this machine, 0.0.0.0 or ::"
    assert refused_start("rng", BIND_ADDRESS="192.0.2.1") == (2, "", f"rng: {cause}\n")
    code, out, err = refused_start("rng", BIND_ADDRESS="192.0.2.1", LOG_FORMAT="JSON", INSTANCE="rng-1")
    assert (code, err) == (2, "")
    line = json.loads(out)
    assert (line["level"], line["event"], line["service"], line["instance"]) == ("error", "can't start", "rng", "rng-1")
    assert line["cause"] == cause


def test_a_bad_setting_is_reported_on_a_terminal_before_the_process_ends() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", 0) as terminal, os.fdopen(follower, "wb", 0) as stream:
        variables = environment(PACE="fast", LOG_FORMAT="console")
        subprocess.run([sys.executable, "-m", "rng_svc"], stderr=stream, env=variables, check=False, timeout=60)
        stream.write(b"END")
        assert terminal.read(1_000).startswith(b"rng: PACE='fast' is not allowed")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("name", ["rng", "hasher", "worker", "webui"])
def test_every_port_listens_on_both_families(name: str, processes: ServiceProcesses) -> None:
    process = processes.start(name, BIND_ADDRESS="::")
    ports = {process.metrics_port} if name == "worker" else {process.metrics_port, process.port}
    for address in ("127.0.0.1", "::1"):
        for port in ports:
            socket.create_connection((address, port), 5).close()


def test_a_log_in_json_is_json_from_the_first_line_to_the_last(processes: ServiceProcesses) -> None:
    """A misspelled variable has a line, as do those of gRPC. A second server fails because the port is in use."""
    mistakes = {"PCAE": "full", "RNG_CONCURENCY": "s3cret"}
    process = processes.start("rng", LOG_FORMAT="json", INSTANCE="rng-9", GRPC_DNS_RESOLVER="native", **mistakes)
    process.wait_for('"started"')
    code, out, err = refused_start("rng", PORT=process.port)
    assert (code, err, out.count("\n")) == (1, "", 1)
    assert f"PORT={process.port}: port {process.port} of 127.0.0.1 is already in use" in out
    assert process.stop() == 0
    events = [json.loads(line) for line in process.text.splitlines()]
    warnings = [event for event in events if event["level"] == "warning"]
    assert [(event["event"], event["variable"], event["meant"]) for event in warnings] == [
        ("unknown variable", "PCAE", "PACE"),
        ("unknown variable", "RNG_CONCURENCY", "RNG_CONCURRENCY"),
    ]
    assert "s3cret" not in process.text
    others = [event["event"] for event in events if event not in warnings]
    assert others.pop(0) == "gRPC is configured by the environment"
    assert [event["variables"] for event in events if "variables" in event] == ["GRPC_DNS_RESOLVER=native"]
    assert others == ["listening", "started", "stopping", "stopped"]
    assert [event["pace"] for event in events if event["event"] == "started"] == ["classic"]
    assert {(event["service"], event["instance"]) for event in events} == {("rng", "rng-9")}


# These take most of the CPU of a start, and most services do not need them then.
REDIS = {"redis", "chassis.redis", "msgspec"}
UNUSED = {"aiohttp", "grpc_channelz", "grpc_reflection.v1alpha", "opentelemetry", "rich.console", *REDIS}


@pytest.mark.parametrize(
    ("service", "used"), [("rng", set()), ("hasher", set()), ("worker", REDIS), ("webui", {"aiohttp", *REDIS})]
)
def test_a_service_imports_only_what_it_uses(processes: ServiceProcesses, service: str, used: set[str]) -> None:
    """Variables about traces change nothing unless they name a collector."""
    others = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_SAMPLER": "jaeger_remote"}
    redis_url = f"redis://127.0.0.1:{free_port()}"
    process = processes.start(service, PYTHONPROFILEIMPORTTIME=1, REDIS_URL=redis_url, **others)
    process.wait_until_started()
    assert process.stop() == 0
    assert UNUSED & set(re.findall(r"^import time: .* (\S+)$", process.text, re.MULTILINE)) == used


def test_modules_left_out_at_the_start_can_be_imported_later() -> None:
    code = "import gc, worker_svc.__main__, rich.console, opentelemetry.sdk.trace; print(gc.isenabled())"
    assert run(sys.executable, "-c", code).stdout == "True\n"


STUCK = """
import asyncio, contextlib, sys, time
from chassis import process
from chassis.settings import ServiceSettings

@contextlib.asynccontextmanager
async def stuck(settings, telemetry):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
    yield

sys.exit(process.run("stuck", ServiceSettings, stuck))
"""


def test_a_dns_query_without_a_response_does_not_delay_the_end_of_a_process() -> None:
    """The name server went away with the network."""
    process = subprocess.Popen([sys.executable, "-uc", STUCK], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        while b"started" not in process.stdout.readline():
            pass
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
        assert time.monotonic() - began > 1
