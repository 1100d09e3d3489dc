import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from perf.conftest import Figures
from perf.load import PATHS, encoded
from support.admin_endpoint import http_get
from support.mine import ALIVE, FULL_NAMES, READY, Mine
from support.served import health

PROGRAM = Path(__file__).with_name("load.py")
SECONDS = 3.0
MAX_WAIT_MS = 100.0
MAX_RATIO = 3.0

# Of these the best counts, since what else runs on the machine only adds to it.
ROUNDS = 3


@contextmanager
def load(*words: object) -> Iterator[None]:
    with subprocess.Popen([sys.executable, str(PROGRAM), *map(str, words)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        time.sleep(0.5)  # until all of its streams are open
        try:
            yield
            assert process.poll() is None, "the load ended"
        finally:
            process.kill()


def p99(action: Callable[[], object], pause: float = 0.0) -> float:
    """Return the 99th percentile of the seconds that it takes."""
    taken = []
    until = time.monotonic() + SECONDS
    while (began := time.monotonic()) < until:
        assert action()
        taken.append(time.monotonic() - began)
        time.sleep(pause)
    return sorted(taken)[-1 - len(taken) // 100]


def slowest_probe(mine: Mine, name: str) -> float:
    """Return the largest 99th percentile of all kinds of probes at once, in seconds."""

    def serving(service: str) -> bool:
        return bool(check(HealthCheckRequest(service=service), timeout=5).status == HealthCheckResponse.SERVING)

    port = mine.metrics_ports[name]
    probes: list[Callable[[], bool]] = [
        lambda: http_get(port, "/healthz") == ALIVE,
        lambda: http_get(port, "/readyz") == READY,
    ]
    with ExitStack() as stack:
        if name == "webui":
            probes.append(lambda: http_get(mine.ports[name], "/readyz") == READY)
        if name in FULL_NAMES:
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{mine.ports[name]}"))
            check = health(channel).Check
            probes += [partial(serving, service) for service in ("", FULL_NAMES[name])]
        at_once = stack.enter_context(ThreadPoolExecutor(len(probes)))
        return max(at_once.map(partial(p99, pause=0.005), probes))


def check_probes(figures: Figures, what: str, mine: Mine, name: str) -> None:
    best = min(slowest_probe(mine, name) for _ in range(ROUNDS))
    figures.check(f"a probe of {what}, p99", best * 1e3, MAX_WAIT_MS, "ms")


@pytest.mark.parametrize(("name", "module"), [("rng", ""), ("hasher", ""), ("hasher", "perf.hashlib_hasher")])
def test_probes_of_a_server_with_the_largest_batches(figures: Figures, mine: Mine, name: str, module: str) -> None:
    mine.start(name, module, PACE="full")
    mine.until(name, READY)
    with load(name, mine.ports[name], 4, 2, 65_536):
        check_probes(figures, f"{module or name} with batches of 65,536", mine, name)


@pytest.mark.parametrize("batch_size", [1, 256, 16_384])
def test_probes_of_a_worker_at_full_pace(figures: Figures, mine: Mine, batch_size: int) -> None:
    mine.start_all(PACE="full", WORKER_BATCH_SIZE=batch_size)
    mine.mines_on()
    check_probes(figures, f"a worker with batches of {batch_size:,}", mine, "worker")


def test_probes_of_a_webui_with_many_pages(figures: Figures, mine: Mine) -> None:
    now = int(time.time()) // 10 * 10
    for worker in range(10):
        hour = dict.fromkeys(range(now - 3_590, now, 10), 20_000)
        mine.redis.client().hset(f"totals:worker-{worker}-00000000", mapping=hour)
        mine.redis.client().hset("totals", mapping=hour)
    mine.start_all()
    mine.mines_on()
    with load("pages", mine.ports["webui"]):
        check_probes(figures, "webui with 300 pages", mine, "webui")


@contextmanager
def well_behaved(service: str, port: int, count: int) -> Iterator[Callable[[], object]]:
    """Sends a batch on the one stream of a client, and waits for its response."""
    requests: queue.Queue[bytes | None] = queue.Queue()

    def send() -> object:
        requests.put(encoded(service, count))
        return next(responses)

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.stream_stream(PATHS[service])  # typed for calls with a serializer
        responses = call(iter(requests.get, None))
        send()
        yield send
        requests.put(None)


@pytest.mark.parametrize(("service", "delay"), [("rng", 0.02), ("rng", 0), ("hasher", 0)])
def test_a_well_behaved_client_beside_one_with_250_busy_streams(
    figures: Figures, mine: Mine, service: str, delay: float
) -> None:
    """Compared with a serial server to itself, or with one at full pace beside a client with four busy streams."""
    count, busy_streams, pace = (1, 0, "classic") if delay else (256, 4, "full")
    mine.start(service, PACE=pace, DELAY=delay)
    mine.until(service, READY)
    port = mine.ports[service]
    ratios = []
    with well_behaved(service, port, count) as send:
        for _ in range(ROUNDS):
            with ExitStack() as stack:
                if busy_streams:
                    stack.enter_context(load(service, port, busy_streams, 4, count))
                before = p99(send)
                with load(service, port, 250, 4, count):
                    ratios.append(p99(send) / before)
    figures.check(f"a client of {service} beside 250 streams, batches of {count}, p99", min(ratios), MAX_RATIO, "times")
