"""What real processes log while streams break all the time: not much, and the same in both formats."""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import pytest
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses

SECONDS = 4.0
"""How long a storm is looked at."""

CONSOLE_LINE = re.compile(r"\d\d:\d\d:\d\d \[(?P<level>\w+) *\] (?P<event>.*?) *(?P<fields>( \w+=('[^']*'|\S+))*)")

Line = Mapping[str, Any]


def json_lines(process: ServiceProcess) -> list[Line]:
    return [json.loads(line) for line in process.text.splitlines()]


def console_lines(process: ServiceProcess) -> list[Line]:
    lines: list[Line] = []
    for text in process.text.splitlines():
        match = CONSOLE_LINE.fullmatch(text)
        assert match, text
        fields = re.findall(r" (\w+)=('[^']*'|\S+)", match["fields"])
        lines.append({"level": match["level"], "event": match["event"], **dict(fields)})
    return lines


def start(processes: ServiceProcesses, redis: RedisServer, error_rate: float, log_format: str) -> list[ServiceProcess]:
    """A hasher, a worker, and an rng of whose batches so many break their stream."""
    common = {"PACE": "full", "LOG_FORMAT": log_format}
    # Other names for each format, so that both may be started by one test.
    rng, hasher, worker = (f"{service}-{log_format}" for service in ("rng", "hasher", "worker"))
    servers = [
        processes.start("rng", INSTANCE=rng, FAULT_ERROR_RATE=error_rate, **common),
        processes.start("hasher", INSTANCE=hasher, **common),
    ]
    ports = [int(server.wait_for(r"127\.0\.0\.1:(\d+)")[1]) for server in servers]
    targets = {
        name: f"ipv4:127.0.0.1:{port}" for name, port in zip(("RNG_TARGET", "HASHER_TARGET"), ports, strict=True)
    }
    return [*servers, processes.start("worker", INSTANCE=worker, REDIS_URL=redis.url, **targets, **common)]


@pytest.mark.parametrize("error_rate", [0.5, 1.0])
def test_a_storm_of_breaks_is_a_line_a_second_on_both_sides(
    processes: ServiceProcesses, redis: RedisServer, error_rate: float
) -> None:
    rng, hasher, worker = start(processes, redis, error_rate, "json")
    worker.wait_for("stream broken")
    began = time.monotonic()
    time.sleep(SECONDS)  # the storm
    said = json_lines(worker), json_lines(rng)
    seconds = time.monotonic() - began
    breaks = [line for line in said[0] if line["event"] == "stream broken"]
    failures = [line for line in said[1] if line.get("code") == "UNAVAILABLE"]
    for lines in (breaks, failures):
        assert 2 <= len(lines) <= seconds + 2
        assert sum(line["times"] for line in lines) > (4 if error_rate < 1 else 1) * len(lines)
    for line in breaks:
        assert (line["to"], line["level"], line["backend"]) == ("rng", "warning", "rng-json")
        assert line["code"] in {"UNAVAILABLE", "INTERNAL"}  # of a write that was under way
        assert line["stream"] > 0
    for line in failures:
        assert line["event"] == "StreamRandomBytes"
        assert line["peer"].startswith("worker-json-")
        assert line["stream"] > 0
    # Those that come and go with their streams are a line a second, too, and so is all else.
    assert len([line for line in said[0] if line["event"] == "backends" and line["to"] == "rng"]) <= seconds + 2
    for lines in said:
        assert len(lines) < 10 * (seconds + 2)
    assert [process.stop() for process in (worker, rng, hasher)] == [0, 0, 0]


def by_event(lines: list[Line]) -> dict[str, set[str]]:
    """The fields of each kind of event, with its level."""
    found: dict[str, set[str]] = {}
    for line in lines:
        event = re.sub(r"\d+", "N", line["event"])
        found.setdefault(event, set()).update([*line, f"level {line['level']}"])
    return found


def test_both_formats_have_the_same_fields_but_for_whose_line_it_is(
    processes: ServiceProcesses, redis: RedisServer
) -> None:
    """On a console somebody else says that already: compose, or `make run`."""
    expected = {
        "rng": {"faults on purpose", "listening", "started", "StreamRandomBytes", "stopping", "stopped"},
        "hasher": {"listening", "started", "StreamHashes", "stopping", "stopped"},
        "worker": {"started", "backends", "stream broken", "N units of work done", "stopping", "stopped"},
    }
    events: dict[str, list[dict[str, set[str]]]] = {service: [] for service in expected}
    for log_format, read in (("console", console_lines), ("json", json_lines)):
        mine = start(processes, redis, 0.2, log_format)
        rng, hasher, worker = mine
        rng.wait_for("UNAVAILABLE")
        rng.wait_for(r"\bOK\b")
        hasher.wait_for(r"\bOK\b")
        worker.wait_for("stream broken")
        worker.wait_for("[1-9][0-9]* units of work done")
        assert [process.stop() for process in (worker, rng, hasher)] == [0, 0, 0]
        for service, process in zip(expected, mine, strict=True):
            events[service].append(by_event(read(process)))
    for service, (console, as_json) in events.items():
        assert expected[service] <= console.keys() & as_json.keys()
        for event in expected[service]:
            assert as_json[event] - console[event] == {"service", "instance", "timestamp"}, event
            assert console[event] <= as_json[event], event
