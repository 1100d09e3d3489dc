"""Services as processes: how they refuse to start, what they import and log, and what can't keep them from ending."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from support.free_port import free_port
from support.service_process import ServiceProcesses


def refused_start(name: str, **env: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a service that does not start."""
    environment = {key: value for key, value in os.environ.items() if key in {"HOME", "PATH", "PYTHONPATH"}}
    ended = subprocess.run(
        [sys.executable, "-m", f"{name}_svc"],
        env={**environment, "METRICS_PORT": "0", "PORT": "0", **env},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("rng", "BIND_ADDRESS", "192.0.2.1"),
        ("hasher", "DELAY", "-0.1"),
        ("worker", "RNG_TARGET", "rng"),
        ("webui", "REDIS_URL", ""),
    ],
)
def test_a_wrong_setting_is_exit_code_2_and_one_line(name: str, variable: str, value: str) -> None:
    code, out, err = refused_start(name, **{variable: value})
    assert (code, out) == (2, "")
    assert err.startswith(f"{name}: {variable}={value!r} is not allowed: it must be ")
    assert err.count("\n") == 1


def test_a_wrong_setting_is_json_where_each_line_is() -> None:
    code, out, err = refused_start("rng", LOG_FORMAT="JSON", INSTANCE="rng-1", PACE="brisk")
    assert (code, err) == (2, "")
    line = json.loads(out)
    assert (line["level"], line["event"], line["service"], line["instance"]) == ("error", "can't start", "rng", "rng-1")
    assert line["cause"] == "PACE='brisk' is not allowed: it must be classic or full"


def test_a_log_in_json_is_json_from_the_first_line_to_the_last(processes: ServiceProcesses) -> None:
    """With a line for each variable that was meant to be another."""
    process = processes.start("rng", LOG_FORMAT="json", INSTANCE="rng-9", PCAE="full", RNG_CONCURENCY="s3cret")
    process.wait_for('"started"')
    assert process.stop() == 0
    events = [json.loads(line) for line in process.text.splitlines()]
    warnings = [event for event in events if event["level"] == "warning"]
    assert [(event["event"], event["variable"], event["meant"]) for event in warnings] == [
        ("unknown variable", "PCAE", "PACE"),
        ("unknown variable", "RNG_CONCURENCY", "RNG_CONCURRENCY"),
    ]
    assert "s3cret" not in process.text
    others = [event["event"] for event in events if event not in warnings]
    assert others == ["listening", "started", "stopping", "stopped"]
    assert {(event["service"], event["instance"]) for event in events} == {("rng", "rng-9")}


async def test_a_log_on_the_console_is_one_line_for_each_event_and_call(processes: ServiceProcesses) -> None:
    """As the workshop's participants watch it. A second server on the same port leaves the first alone."""
    port = free_port()
    process = processes.start("rng", PORT=port, DELAY=0)
    process.wait_until_started()
    code, out, err = refused_start("rng", PORT=str(port))
    assert (code, err) == (1, "")
    [line] = out.splitlines()
    assert re.search(rf"can't start .*\bPORT={port}: port {port} of 127\.0\.0\.1 is already in use", line)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=32))
    process.wait_for(r"GetRandomBytes.*\n")
    first, second, third = process.text.splitlines()
    assert re.search(rf"listening +address=127\.0\.0\.1:{port}$", first)
    assert re.search(r"started +pace=classic$", second)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d \[info *\] GetRandomBytes +peer=ipv4:127\.0\.0\.1:\d+ code=OK seconds=\d\.\d+ batches=1 "
        r"bytes_in=2 bytes_out=41",
        third,
    ), third


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_all_addresses_of_ipv6_are_those_of_ipv4_too_on_every_port(processes: ServiceProcesses) -> None:
    process = processes.start("webui", BIND_ADDRESS="::")
    process.wait_until_started()
    for port in (process.port, process.metrics_port):
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), 5).close()


UNUSED = {"aiohttp", "grpc_channelz", "grpc_reflection.v1alpha", "opentelemetry", "redis", "rich"}
"""What took most of the CPU of a start, and most services have no use for at it."""


@pytest.mark.parametrize(
    ("service", "used"), [("rng", set()), ("hasher", set()), ("worker", {"redis"}), ("webui", {"aiohttp", "redis"})]
)
def test_a_service_imports_only_what_it_uses(service: str, used: set[str]) -> None:
    later = "import rich.table, opentelemetry.sdk.trace"
    code = f"import gc, sys, {service}_svc.__main__; print(gc.isenabled(), *sys.modules); {later}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    collecting, *imported = ended.stdout.split()
    assert collecting == "True"
    assert UNUSED & set(imported) == used


@pytest.mark.parametrize("attempt", range(2))
def test_a_setting_that_is_not_allowed_is_reported_on_a_terminal(attempt: int) -> None:
    del attempt  # a line that is usually lost may be there once
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", 0) as terminal:
        with os.fdopen(follower, "wb", 0) as stream:
            environment = {**os.environ, "PACE": "fast", "LOG_FORMAT": "console"}
            command = [sys.executable, "-m", "rng_svc"]
            ended = subprocess.run(command, stderr=stream, env=environment, check=False, timeout=60)
            stream.write(b"END")
        text = b""
        while not text.endswith(b"END"):
            text += terminal.read(1_000)
    assert ended.returncode == 2
    assert text.startswith(b"rng: PACE='fast' is not allowed")


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


def test_a_look_up_that_is_never_answered_holds_no_process_beyond_the_bound() -> None:
    """As of a name server that went away with the network."""
    process = subprocess.Popen([sys.executable, "-uc", STUCK], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        while b"started" not in process.stdout.readline():
            pass
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
        assert time.monotonic() - began > 1
