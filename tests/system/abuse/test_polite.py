"""What a client that asks for one batch at a time waits for it, beside one that wants all there is."""

import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.service_process import ServiceProcess, ServiceProcesses
from system.abuse.greedy import PATHS, encoded

pytestmark = pytest.mark.alone(
    reason="a server is saturated, and the 99th percentile of what a client waits is measured"
)

SECONDS = 3.0
TIMES = 3.0
ATTEMPTS = 5
STREAMS = 250


class Polite:
    """One stream, one batch at a time."""

    def __init__(self, service: str, server: ServiceProcess, count: int) -> None:
        self._request = encoded(service, count)
        self._requests: queue.Queue[bytes | None] = queue.Queue()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
        call: Any = self._channel.stream_stream(PATHS[service])  # typed for calls with a serializer
        self._answers = call(iter(self._requests.get, None))
        self.ask()

    def ask(self) -> float:
        begin = time.monotonic()
        self._requests.put(self._request)
        next(self._answers)
        return time.monotonic() - begin

    @property
    def p99(self) -> float:
        until = time.monotonic() + SECONDS
        taken = []
        while time.monotonic() < until:
            taken.append(self.ask())
        return sorted(taken)[-1 - len(taken) // 100]

    def close(self) -> None:
        self._requests.put(None)
        self._channel.close()


@contextmanager
def greedy(service: str, server: ServiceProcess, streams: int, count: int) -> Iterator[None]:
    """Another client with so many streams, which are always busy."""
    program = str(Path(__file__).with_name("greedy.py"))
    words = [sys.executable, program, service, *map(str, (server.port, streams, count))]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        time.sleep(0.5)  # until all of its streams are open, which it does not know
        try:
            yield
        finally:
            process.kill()


def assert_bearable(service: str, server: ServiceProcess, count: int, busy_before: int) -> None:
    """In one of five attempts, since whatever else runs on this machine only adds to it."""
    ratios = []
    polite = Polite(service, server, count)
    for _ in range(ATTEMPTS):
        with ExitStack() as stack:
            if busy_before:
                stack.enter_context(greedy(service, server, busy_before, count))
            before = polite.p99
            with greedy(service, server, STREAMS, count):
                ratios.append(polite.p99 / before)
        if ratios[-1] <= TIMES:
            break
    polite.close()
    assert ratios[-1] <= TIMES, ratios


def test_at_a_serial_server_it_waits_for_one_turn_of_the_other(processes: ServiceProcesses) -> None:
    server = processes.start("rng", DELAY=0.02)
    assert_bearable("rng", server, 1, 0)


@pytest.mark.parametrize("service", ["rng", "hasher"])
def test_at_a_server_that_was_busy_before(processes: ServiceProcesses, service: str) -> None:
    server = processes.start(service, PACE="full")
    assert_bearable(service, server, 256, 4)
