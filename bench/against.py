"""Pairs of this checkout and one of an earlier commit: CPU, speed and memory of each tree's own processes.

At full pace the trees take turns, and so does which is first. What leaves them a core each, both do at the same time:
on a busy machine that halves the noise of starts, and gains nothing at full pace.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from support.free_port import free_port

from bench.figures import Part, Report
from bench.pairs import Figure, Kind, Pair, Sample, at_once, cpu_and_speed, lines, order
from bench.processes import BenchError, log_tails, process, show, wait_until_listening, wait_until_ready
from bench.system import HOST, Servers, servers
from bench.tree import Tree

WINDOW_SIZE = "8"

# The batches whose latency is compared.
LATENCY_POINT = {"--batch-sizes": "256", "--windows": "64", "--repeat": "1", "--warm-up": "0.5"}

# Less than the default, so that a run can be short.
REPORT_INTERVAL_S = 0.5

# The time from a start to a steady state.
SETTLING_S = 2.0

Trees = tuple[Tree, Tree]


@functools.cache
def _trees(commit: str) -> Trees:
    show(f"making a checkout of {commit}")
    return Tree.this(), Tree.of(commit)


@contextlib.contextmanager
def _systems(trees: Trees, folder: Path, pace: str, replicas: int = 1) -> Iterator[tuple[Servers, Servers]]:
    hosts = tuple(f"127.0.0.{number}" for number in range(1, replicas + 1))
    this, that = (servers(folder, {"PACE": pace}, hosts, tree) for tree in trees)
    with this as ours, that as theirs:
        yield ours, theirs


def _report(title: str, trees: Trees, pairs: Sequence[Pair]) -> Report:
    show("")
    this, that = (tree.commit for tree in trees)
    return lines(f"{title}: this tree ({this}) and {that}", ("this", "that"), pairs), []


def _hash(arguments: argparse.Namespace, folder: Path) -> Report:
    """CPU of rng, hasher and worker, and speed, at each batch size."""
    trees = _trees(arguments.against)
    pairs: list[Pair] = []
    for number in range(arguments.pairs):
        pair: tuple[dict[Figure, float], dict[Figure, float]] = ({}, {})
        with _systems(trees, folder, "full", arguments.replicas) as systems:
            for place, (size, window) in enumerate(itertools.product(arguments.batch_sizes, arguments.window_sizes)):
                show(f"CPU per hash: pair {number + 1} of {arguments.pairs}, batch {size}, window {window}")
                settings = {"BATCH_SIZE": f"{size}", "WINDOW_SIZE": f"{window}"}
                for tree in order(number + place):
                    run = systems[tree].mine(settings, arguments.seconds, REPORT_INTERVAL_S)
                    pair[tree].update(cpu_and_speed(run, f"batch {size:>6,}, window {window:>2}: "))
        pairs.append(pair)
    return _report("At full pace", trees, pairs)


def _latency(arguments: argparse.Namespace, folder: Path) -> Report:
    """p99 of a batch at half of the earlier commit's speed, and at half of each tree's own."""
    trees = _trees(arguments.against)
    pairs: list[Pair] = []
    for number in range(arguments.pairs):
        show(f"latency: pair {number + 1} of {arguments.pairs}")
        pair: tuple[dict[Figure, float], dict[Figure, float]] = ({}, {})
        with _systems(trees, folder, "full", arguments.replicas) as systems:
            measure = functools.partial(_load_test, systems, arguments.seconds)
            speeds = {tree: measure(tree)["hashes_per_second"]["median"] for tree in order(number)}
            for load, rates in (
                ("the same load", (speeds[1], speeds[1])),
                ("half of its speed", (speeds[0], speeds[1])),
            ):
                for tree in order(number):
                    latency = measure(tree, {"--rate": f"{rates[tree] / 2:.0f}"})["latency_seconds"]["total"]
                    for name in ("p50", "p99"):
                        figure = Figure(f"batch 256 at {load}: {name}, ms", Kind.TIME)
                        pair[tree][figure] = latency[name] * 1e3
        pairs.append(pair)
    return _report("Latency", trees, pairs)


def _load_test(
    systems: tuple[Servers, Servers], seconds: float, tree: int, options: Mapping[str, str] | None = None
) -> Mapping[str, Any]:
    """Return the summary of a load test of one tree on its own servers. Raises BenchError if it fails."""
    running = systems[tree]
    output, log = running.folder / "load-test.json", running.folder / "load-test.log"
    given = {**LATENCY_POINT, "--duration": f"{seconds:g}", "--output": str(output), **(options or {})}
    command = [running.tree.python, *running.tree.load_test, *itertools.chain.from_iterable(given.items())]
    with process(command, running.targets, log, running.tree.root) as started:
        if started.wait() != 0:
            raise BenchError(f"the load test ended with {started.returncode}: {log_tails(running.folder)}")
    summary: Mapping[str, Any] = json.loads(output.read_text())["points"][0]["summary"]
    return summary


def _start(arguments: argparse.Namespace, folder: Path) -> Report:
    """CPU of a process that is started, and stopped once it is ready."""
    trees = _trees(arguments.against)
    pairs: list[Pair] = []
    with _systems(trees, folder, "classic") as systems:
        # The first pair does not count: in it files are read for the first time, and modules compiled.
        for number in range(arguments.pairs + 1):
            show(f"CPU of a start: pair {number} of {arguments.pairs}")
            pair: tuple[dict[Figure, float], dict[Figure, float]] = ({}, {})
            for service in ("rng", "hasher", "worker", "webui"):
                figure = Figure(f"{service}: CPU of a start and stop, ms", Kind.TIME)
                measure = functools.partial(_cpu_of_start, service=service)
                for tree, seconds in enumerate(at_once(measure, systems, number)):
                    pair[tree][figure] = seconds * 1e3
            pairs.append(pair)
    return _report("Starts", trees, pairs[1:])


def _cpu_of_start(running: Servers, service: str) -> float:
    """Return the CPU seconds. Raises BenchError if the service is not ready in time, or its exit code is not 0."""
    port = free_port()
    settings = {"METRICS_PORT": f"{port}", **_own_settings(running, service)}
    with running.start(service, f"{service}-started", settings) as started:
        wait_until_ready(started, port, running.folder)
        started.terminate()
        _, status, usage = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
        if started.returncode != 0:
            raise BenchError(f"{service} ended with {started.returncode}: {log_tails(running.folder)}")
        return usage.ru_utime + usage.ru_stime


def _own_settings(running: Servers, service: str) -> Mapping[str, str]:
    if service in {"rng", "hasher"}:
        return {"PORT": "0"}
    redis = {"REDIS_URL": running.redis_url}
    return {**redis, "PORT": "0"} if service == "webui" else {**redis, **running.targets}


def _classic(arguments: argparse.Namespace, folder: Path) -> Report:
    """CPU of all five at the classic pace, with one page open."""
    measure = functools.partial(_classic_sample, seconds=arguments.pair_seconds)
    return _fresh_pairs("At classic pace", measure, "classic", arguments, folder)


def _classic_sample(running: Servers, seconds: float) -> Sample:
    with _five(running, {}) as processes:
        time.sleep(SETTLING_S)
        run = running.measure(processes, seconds)
    cpu = {"all processes": sum(run.cpu.values()), **run.cpu}
    return {
        **{Figure(f"{name}: CPU, ms per second", Kind.TIME): each / run.seconds * 1e3 for name, each in cpu.items()},
        Figure("hashes/s", Kind.SPEED): run.speed,
    }


def _memory(arguments: argparse.Namespace, folder: Path) -> Report:
    """Resident memory at rest, and after large batches were mined."""
    measure = functools.partial(_memory_sample, seconds=arguments.seconds)
    return _fresh_pairs("Resident memory", measure, "full", arguments, folder)


def _memory_sample(running: Servers, seconds: float) -> Sample:
    time.sleep(SETTLING_S)
    at_rest = _megabytes(running.processes, "at rest")
    with _five(running, {"BATCH_SIZE": "16384", "WINDOW_SIZE": WINDOW_SIZE}) as processes:
        running.measure(processes, seconds)
        return {**at_rest, **_megabytes(processes, "after a run")}


def _megabytes(processes: Mapping[str, psutil.Process], when: str) -> Sample:
    return {
        Figure(f"{name} {when}, MB", Kind.MEMORY): process.memory_info().rss / 1e6
        for name, process in processes.items()
    }


def _fresh_pairs(
    title: str, measure: Callable[[Servers], Sample], pace: str, arguments: argparse.Namespace, folder: Path
) -> Report:
    """Measure both trees at the same time, each pair with processes of its own."""
    trees = _trees(arguments.against)
    pairs: list[Pair] = []
    for number in range(arguments.pairs):
        show(f"{title}: pair {number + 1} of {arguments.pairs}")
        with _systems(trees, folder, pace, arguments.replicas) as systems:
            pairs.append(at_once(measure, systems, number))
    return _report(title, trees, pairs)


@contextlib.contextmanager
def _five(running: Servers, settings: Mapping[str, str]) -> Iterator[dict[str, psutil.Process]]:
    """All services, while a worker mines with these settings and a browser shows the page."""
    port = free_port()
    page = {**_own_settings(running, "webui"), "PORT": f"{port}"}
    with running.start("webui", "webui", page) as webui, running.worker(settings) as worker:
        wait_until_listening(webui, HOST, port, running.folder)
        with _browser(port):
            processes = {"worker": worker, "webui": psutil.Process(webui.pid)}
            yield {"redis": running.redis_process, **running.processes, **processes}


@contextlib.contextmanager
def _browser(port: int) -> Iterator[None]:
    """Receive events, as a browser does that shows the page. Raises BenchError when there are none."""
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
        if b" 200 " not in connection.recv(64):
            raise BenchError("webui has no events")
        reading = threading.Thread(target=_receive, args=(connection,), daemon=True)
        reading.start()
        yield
        connection.shutdown(socket.SHUT_RDWR)
    reading.join()


def _receive(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(1 << 16):
            pass


PARTS: Mapping[str, Part] = {
    "hash": _hash,
    "latency": _latency,
    "start": _start,
    "classic": _classic,
    "memory": _memory,
}
