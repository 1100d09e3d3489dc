"""rng and hasher as processes: what makes them refuse to start, and what they say then."""

import json
import os
import re
import socket
import subprocess
import sys

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from support.free_port import free_port
from support.service_process import ServiceProcesses

SERVERS = ["rng", "hasher"]
A_TARGET = "a gRPC target such as dns:///rng:50051 or ipv4:127.0.0.1:50051,127.0.0.1:50052"

A_REDIS = (
    "redis://HOST:PORT, unix://PATH, redis-sentinel://HOST:PORT,HOST:PORT/NAME or redis-cluster://HOST:PORT,HOST:PORT, "
    "or one with rediss in place of redis"
)


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
    ("name", "variable", "value", "allowed"),
    [
        ("rng", "PORT", "rng", "a whole number from 0 to 65535 (TCP port, 0 for any free one)"),
        ("rng", "PACE", "brisk", "classic or full"),
        ("hasher", "DELAY", "-0.1", "a number from 0 to 10 (seconds that a request takes at least)"),
        ("hasher", "CONCURRENCY", "1025", "a whole number from 0 to 1024 (requests served at once, 0 for unlimited)"),
        ("worker", "RNG_TARGET", "rng", A_TARGET),
        ("worker", "BATCH_SIZE", "0", "a whole number from 1 to 65536 (messages a batch), or auto"),
        ("webui", "REDIS_URL", "", A_REDIS),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_exit_code_2_and_one_line(name: str, variable: str, value: str, allowed: str) -> None:
    code, out, err = refused_start(name, **{variable: value})
    assert (code, out) == (2, "")
    assert err == f"{name}: {variable}={value!r} is not allowed: it must be {allowed}\n"


def test_a_wrong_setting_is_json_where_each_line_is() -> None:
    code, out, err = refused_start("rng", LOG_FORMAT="JSON", INSTANCE="rng-1", PACE="brisk")
    assert (code, err) == (2, "")
    line = json.loads(out)
    assert (line["level"], line["event"], line["service"], line["instance"]) == ("error", "can't start", "rng", "rng-1")
    assert line["cause"] == "PACE='brisk' is not allowed: it must be classic or full"


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("variable", ["PORT", "METRICS_PORT"])
def test_a_port_in_use_is_exit_code_1_and_one_line(name: str, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = refused_start(name, **{variable: port})
    assert (code, err) == (1, "")
    [line] = [line for line in out.splitlines() if "[info" not in line]
    assert "can't start" in line
    assert f"{variable}={port}: port {port} of 127.0.0.1 is already in use" in line


def test_a_second_server_on_the_same_port_fails_and_the_first_serves_on(processes: ServiceProcesses) -> None:
    first = processes.start("rng")
    first.wait_until_started()
    code, out, err = refused_start("rng", PORT=str(first.port))
    assert (code, err) == (1, "")
    [line] = out.splitlines()
    assert f"PORT={first.port}: port {first.port} of 127.0.0.1 is already in use" in line
    assert first.popen.poll() is None


@pytest.mark.parametrize("address", ["192.0.2.1", "a..b"])
def test_an_address_that_is_none_is_exit_code_2_and_one_line(address: str) -> None:
    code, out, err = refused_start("rng", BIND_ADDRESS=address)
    assert (code, out) == (2, "")
    [line] = err.splitlines()
    assert line.startswith(f"rng: BIND_ADDRESS='{address}' is not allowed: it must be an")


def test_a_log_in_json_is_json_from_the_first_line_to_the_last(processes: ServiceProcesses) -> None:
    process = processes.start("rng", LOG_FORMAT="json", INSTANCE="rng-9")
    process.wait_for('"started"')
    assert process.stop() == 0
    events = [json.loads(line) for line in process.text.splitlines()]
    assert [event["event"] for event in events] == ["listening", "started", "stopping", "stopped"]
    assert {(event["service"], event["instance"]) for event in events} == {("rng", "rng-9")}


def test_a_log_on_the_console_says_where_it_listens(processes: ServiceProcesses) -> None:
    port = free_port()
    process = processes.start("rng", PORT=port)
    process.wait_until_started()
    first, second = process.text.splitlines()
    assert re.search(rf"listening +address=127\.0\.0\.1:{port}$", first)
    assert re.search(r"started +pace=classic$", second)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("name", ["rng", "webui"])
def test_all_addresses_of_ipv6_are_those_of_ipv4_too_on_every_port(processes: ServiceProcesses, name: str) -> None:
    process = processes.start(name, BIND_ADDRESS="::")
    process.wait_until_started()
    for port in (process.port, process.metrics_port):
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), 5).close()


def test_a_variable_that_was_meant_to_be_another_is_one_line(processes: ServiceProcesses) -> None:
    process = processes.start("rng", PCAE="full", RNG_CONCURENCY="s3cret", LOG_FORMAT="json")
    process.wait_for('"started"')
    warnings = [event for event in map(json.loads, process.text.splitlines()) if event["level"] == "warning"]
    assert [(event["event"], event["variable"], event["meant"]) for event in warnings] == [
        ("unknown variable", "PCAE", "PACE"),
        ("unknown variable", "RNG_CONCURENCY", "RNG_CONCURRENCY"),
    ]
    assert "s3cret" not in process.text


async def test_a_call_is_one_line_on_the_console(processes: ServiceProcesses) -> None:
    """As the workshop's participants watch it."""
    process = processes.start("rng", DELAY="0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        await RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=32))
    line = process.wait_for(r".*GetRandomBytes.*\n")[0]
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d \[info *\] GetRandomBytes +peer=ipv4:127\.0\.0\.1:\d+ code=OK seconds=0\.\d+ batches=1 "
        r"bytes_in=2 bytes_out=41\n",
        line,
    ), line
