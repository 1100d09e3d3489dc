"""A collector that is away, hangs or takes nothing costs spans and nothing else."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest
from support.free_port import free_port
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses
from system.tracing.traced_system import TracedSystem, start
from system.worker.test_worker_process import hashes_in, until

pytestmark = pytest.mark.pair(
    reason="workers take all the CPU there is, and stopping is held to 3.5 s, of which what it waits for takes up to 3"
)


@contextmanager
def away() -> Iterator[int]:
    yield free_port()


@contextmanager
def hanging() -> Iterator[int]:
    """Connections are made, and nothing that is sent is read."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_000) as listener:
        yield listener.getsockname()[1]


@contextmanager
def refusing(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


TROUBLES: dict[str, Callable[[], AbstractContextManager[int]]] = {
    "away": away,
    "hangs": hanging,
    "refuses": lambda: refusing(400),
    "is overloaded": lambda: refusing(503),
}


def troubles(process: ServiceProcess) -> int:
    """How often it says that there are some."""
    return process.text.count("trouble with traces")


def assert_unharmed(system: TracedSystem, redis: RedisServer) -> None:
    for process in (system.worker, *system.rngs, *system.hashers):
        began = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - began < 3.5
        assert troubles(process) <= 2  # the first, and at the end those that were held back
        assert "Traceback" not in process.text
        assert "opentelemetry" not in process.text
    assert hashes_in(redis) == system.worker.units_logged > 0


@pytest.mark.parametrize("pace", ["classic", "full"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_mining_goes_on_and_stopping_is_in_time(
    trouble: str, pace: str, processes: ServiceProcesses, redis: RedisServer
) -> None:
    with TROUBLES[trouble]() as port:
        system = start(processes, redis, f"http://127.0.0.1:{port}", everyone={"PACE": pace})
        until(lambda: hashes_in(redis) >= 1)
        before = hashes_in(redis)
        if trouble != "hangs":  # which shows after ten seconds only
            for process in (system.worker, *system.rngs, *system.hashers):
                process.wait_for("trouble with traces.*to=collector")
        until(lambda: hashes_in(redis) > before)
        assert_unharmed(system, redis)


def test_spans_that_nobody_takes_do_not_pile_up(processes: ServiceProcesses, redis: RedisServer) -> None:
    """Ten thousand a second, of which the two thousand newest are kept."""
    with hanging() as port:
        system = start(
            processes,
            redis,
            f"http://127.0.0.1:{port}",
            everyone={"PACE": "full", "OTEL_TRACES_SAMPLER_ARG": 1},
            worker={"BATCH_SIZE": 256, "WINDOW_SIZE": 8},
        )
        worker = psutil.Process(system.worker.popen.pid)
        until(lambda: hashes_in(redis) >= 256 * 2_000, limit=30)
        before = worker.memory_info().rss
        until(lambda: hashes_in(redis) >= 256 * 8_000, limit=60)
        assert worker.memory_info().rss - before < 16e6
        assert troubles(system.worker) == 1
        assert "Queue full" in system.worker.text
        assert_unharmed(system, redis)
