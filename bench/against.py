"""What changed since an earlier commit: CPU, speed and memory, in pairs of runs of each tree's own processes.

At full pace both trees do the same in turns, and which is first takes turns as well, so that a machine whose speed
drifts favours neither. What leaves them a core each, both do at the same time: what disturbs one disturbs the other. On
a busy machine that halves the noise of starts, and gains nothing at full pace.
"""

import argparse
import contextlib
import functools
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple, TypeVar

import psutil

from bench import progress
from bench.parts import Part, Report
from bench.processes import START_LIMIT, BenchError, free_port, log_tails, wait_until_listening
from bench.ratio import Kind, Ratio
from bench.spread import Spread, digits
from bench.system import Servers, servers
from bench.tree import Tree
from bench.turn import count, take_turn

WINDOW_SIZE = "8"

REPORT_INTERVAL_S = 0.5
"""Less than the default, so that a run is short."""

PROBE_INTERVAL_S = 0.05
"""A probe costs the service some of the CPU that is measured, so there are few."""

MEMORY_SETTINGS = {"BATCH_SIZE": "16384", "WINDOW_SIZE": WINDOW_SIZE}

SETTLING_S = 2.0
"""After a start, before what it settles to is measured."""

Measured = TypeVar("Measured")


class Figure(NamedTuple):
    """What is compared, with its unit."""

    name: str
    kind: Kind


Sample = Mapping[Figure, float]
"""What one tree did in one run."""

Pair = tuple[Sample, Sample]
"""This tree's, and the other one's."""

Trees = tuple[Tree, Tree]
"""Likewise."""


def turns(number: int) -> tuple[int, int]:
    """Which tree is first and which is second: ABBA."""
    return (0, 1) if number % 2 == 0 else (1, 0)


def lines(title: str, trees: Trees, pairs: Sequence[Pair]) -> Iterator[str]:
    """The table."""
    this, that = (tree.commit for tree in trees)
    yield f"{title}: this tree ({this}) and {that}, medians of {len(pairs)} pairs"
    yield f"{'':<40} {'this':>9} {'that':>9} {'ratio':>6} {'95 % interval':>14}  verdict"
    for figure in pairs[0][0]:
        values = [(ours[figure], theirs[figure]) for ours, theirs in pairs]
        ratio = Ratio(figure.kind, values)
        medians = " ".join(f"{digits(Spread(column).median):>9}" for column in zip(*values, strict=True))
        low, high = ratio.interval
        yield f"{figure.name:<40} {medians} {ratio.median:>6.3f} {low:>7.3f}-{high:<6.3f}  {ratio.verdict}"


@functools.cache
def _trees(commit: str) -> Trees:
    progress.show(f"making a checkout of {commit}")
    return Tree.this(), Tree.of(commit)


def _systems(
    stack: contextlib.ExitStack, trees: Trees, folder: Path, pace: str, replicas: int = 1
) -> tuple[Servers, Servers]:
    hosts = tuple(f"127.0.0.{number}" for number in range(1, replicas + 1))
    this, that = (stack.enter_context(servers(folder, {"PACE": pace}, hosts, tree=tree)) for tree in trees)
    return this, that


def _at_once(
    measure: Callable[[Servers], Measured], systems: tuple[Servers, Servers], number: int
) -> tuple[Measured, Measured]:
    first, second = turns(number)
    with ThreadPoolExecutor(2) as both:
        measured = dict(zip((first, second), both.map(measure, (systems[first], systems[second])), strict=True))
    return measured[0], measured[1]


def _hash(arguments: argparse.Namespace, folder: Path) -> Report:
    """CPU of rng, hasher and worker, and speed, at each batch size."""
    trees = _trees(arguments.against)
    pairs: list[Pair] = []
    for number in range(arguments.pairs):
        with contextlib.ExitStack() as stack:
            systems = _systems(stack, trees, folder, "full", arguments.replicas)
            pair: tuple[dict[Figure, float], dict[Figure, float]] = ({}, {})
            for place, size in enumerate(arguments.batch_sizes):
                progress.show(f"CPU a hash: pair {number + 1} of {arguments.pairs}, batch {size}")
                settings = {"BATCH_SIZE": f"{size}", "WINDOW_SIZE": WINDOW_SIZE}
                for tree in turns(number + place):
                    run = take_turn(systems[tree], settings, arguments.seconds, REPORT_INTERVAL_S)
                    pair[tree][Figure(f"batch {size:>6,}: CPU a hash, ns", Kind.CPU)] = run.cpu_a_million * 1e3
                    pair[tree][Figure(f"batch {size:>6,}: hashes/s", Kind.SPEED)] = run.speed
        pairs.append(pair)
    progress.show("")
    return list(lines("At full pace", trees, pairs)), []


def _start(arguments: argparse.Namespace, folder: Path) -> Report:
    """CPU of a process that is started and stopped once it is ready."""
    trees = _trees(arguments.against)
    pairs: list[Pair] = []
    with contextlib.ExitStack() as stack:
        systems = _systems(stack, trees, folder, "classic")
        # The first pair does not count: in it files are read for the first time, and modules compiled.
        for number in range(arguments.pairs + 1):
            progress.show(f"CPU of a start: pair {number} of {arguments.pairs}")
            pair: tuple[dict[Figure, float], dict[Figure, float]] = ({}, {})
            for service in ("rng", "hasher", "worker", "webui"):
                measure = functools.partial(_cpu_of_start, service=service)
                figure = Figure(f"{service}: CPU of a start and stop, ms", Kind.CPU)
                for tree, seconds in enumerate(_at_once(measure, systems, number)):
                    pair[tree][figure] = seconds * 1e3
            pairs.append(pair)
    progress.show("")
    return list(lines("Starts", trees, pairs[1:])), []


def _cpu_of_start(running: Servers, service: str) -> float:
    """Seconds. Raises BenchError when the service is not ready in time, or does not stop as it should."""
    port = free_port()
    settings = {"METRICS_PORT": f"{port}", **_own(running, service)}
    with running.start(service, f"{service}-started", settings) as started:
        wait_until_listening(started, "127.0.0.1", port, running.folder)
        _wait_until_ready(started, port, running.folder)
        started.terminate()
        _, status, usage = os.wait4(started.pid, 0)
        started.returncode = os.waitstatus_to_exitcode(status)
        if started.returncode != 0:
            raise BenchError(f"{service} ended with {started.returncode}: {log_tails(running.folder)}")
        return usage.ru_utime + usage.ru_stime


def _own(running: Servers, service: str) -> Mapping[str, str]:
    """What one service has to be told."""
    if service in {"rng", "hasher"}:
        return {"PORT": "0"}
    store = {"REDIS_URL": running.redis_url}
    return {**store, "PORT": "0"} if service == "webui" else {**store, **running.targets}


def _wait_until_ready(started: "Popen[bytes]", port: int, folder: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while started.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as probe:
            probe.request("GET", "/readyz")
            if probe.getresponse().status == http.HTTPStatus.OK:
                return
        time.sleep(PROBE_INTERVAL_S)
    raise BenchError(f"a service is not ready within {START_LIMIT:.0f} s: {log_tails(folder)}")


def _classic(arguments: argparse.Namespace, folder: Path) -> Report:
    """CPU of all five at the classic pace, with one page open."""
    trees = _trees(arguments.against)
    measure = functools.partial(_classic_sample, seconds=arguments.classic_seconds / arguments.pairs)
    pairs: list[Pair] = []
    for number in range(arguments.pairs):
        progress.show(f"classic pace: pair {number + 1} of {arguments.pairs}")
        with contextlib.ExitStack() as stack:
            systems = _systems(stack, trees, folder, "classic", arguments.replicas)
            pairs.append(_at_once(measure, systems, number))
    progress.show("")
    return list(lines("At classic pace", trees, pairs)), []


def _classic_sample(running: Servers, seconds: float) -> Sample:
    with _five(running, {}) as processes:
        time.sleep(SETTLING_S)
        run = count(running, processes, seconds)
    cpu = {"all processes": sum(run.cpu.values()), **run.cpu}
    return {
        **{Figure(f"{name}: CPU, ms a second", Kind.CPU): each / run.seconds * 1e3 for name, each in cpu.items()},
        Figure("hashes/s", Kind.SPEED): run.speed,
    }


@contextlib.contextmanager
def _five(running: Servers, settings: Mapping[str, str]) -> Iterator[dict[str, psutil.Process]]:
    """All services, while a worker mines with these settings and a page is open."""
    port = free_port()
    page = {**_own(running, "webui"), "PORT": f"{port}"}
    with running.start("webui", "webui", page) as webui, running.worker(settings) as worker:
        wait_until_listening(webui, "127.0.0.1", port, running.folder)
        with _page(port):
            processes = {"worker": worker, "webui": psutil.Process(webui.pid)}
            yield {"redis": psutil.Process(running.redis_pid), **running.processes, **processes}


@contextlib.contextmanager
def _page(port: int) -> Iterator[None]:
    """What a browser does that shows the page: take the events. Raises BenchError when there are none."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
        if b" 200 " not in connection.recv(64):
            raise BenchError("webui has no events")
        reading = threading.Thread(target=_read_all, args=(connection,))
        reading.start()
        yield
        connection.shutdown(socket.SHUT_RDWR)
        reading.join()


def _read_all(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(1 << 16):
            pass


def _memory(arguments: argparse.Namespace, folder: Path) -> Report:
    """What is resident at rest, and once large batches were mined."""
    trees = _trees(arguments.against)
    measure = functools.partial(_memory_sample, seconds=arguments.seconds)
    pairs: list[Pair] = []
    for number in range(arguments.pairs):
        progress.show(f"memory: pair {number + 1} of {arguments.pairs}")
        with contextlib.ExitStack() as stack:
            pairs.append(_at_once(measure, _systems(stack, trees, folder, "full"), number))
    progress.show("")
    return list(lines("Resident memory", trees, pairs)), []


def _memory_sample(running: Servers, seconds: float) -> Sample:
    time.sleep(SETTLING_S)
    at_rest = _megabytes(running.processes, "at rest")
    with _five(running, MEMORY_SETTINGS) as processes:
        count(running, processes, seconds)
        return {**at_rest, **_megabytes(processes, "after a run")}


def _megabytes(processes: Mapping[str, psutil.Process], when: str) -> Sample:
    return {
        Figure(f"{name} {when}, MB", Kind.MEMORY): process.memory_info().rss / 1e6
        for name, process in processes.items()
    }


PARTS: Mapping[str, Part] = {"hash": _hash, "start": _start, "classic": _classic, "memory": _memory}
