"""Abusive clients of a mine's services: all services stay ready and keep little, and each hash is counted once."""

import resource
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil
import pytest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest
from hyperframe.frame import DataFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame
from support.mine import FULL_NAMES, READY, SERVICES, Mine
from support.raw_h2 import ABUSER, CALLS, PREFACE, SIZE_4, STREAMS, RawClient, message
from support.waiting import wait_until

from chassis.grpc_options import MAX_CONNECTIONS, MAX_STREAMS
from chassis.grpc_server.server import MAX_CALLS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how large a process is")

LARGEST = 2 * 1024 * 1024
# What a service keeps after abuse, compared with before.
MAX_GROWTH = 1.2

# What a service may log while it is abused once.
MAX_LOG_BYTES = 64 * 1024

Abuse = Callable[[Mine, ExitStack], object]


def hold_half_requests(mine: Mine, stack: ExitStack) -> None:
    """Begin to speak, and to the admin endpoints on more connections than there may be."""
    begun = (b"", PREFACE[:10], b"GET / HTTP/1.1\r\nHo") * 8
    useless = (
        b"",
        b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Half: ",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50,  # whose responses are not read
        b"POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + bytes(1_000),
    ) * 40
    for ports, requests in ((mine.ports, begun), (mine.metrics_ports, useless)):
        for port in ports.values():
            for request in requests:
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)).sendall(request)


def flood_with_frames(mine: Mine, stack: ExitStack) -> None:
    frames = (
        PingFrame(0, b"12345678"),
        SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65_535}),
        DataFrame(1, b""),
        WindowUpdateFrame(0, 1),
    )
    for name, path in STREAMS.items():
        for frame in frames:
            client = stack.enter_context(RawClient(mine.ports[name], source=ABUSER))
            client.open(path)
            client.send(*[frame] * 4_000)
        client = stack.enter_context(RawClient(mine.ports[name], source=ABUSER))
        for _ in range(4_000):
            opening = client.opening(path)
            client.send(opening, RstStreamFrame(opening.stream_id, 8))


def hold_connections(mine: Mine, stack: ExitStack) -> None:
    """Take all connections, so that other clients get none."""
    for name, port in ((name, mine.ports[name]) for name in FULL_NAMES):
        clients = [stack.enter_context(RawClient(port, source=ABUSER)) for _ in range(MAX_CONNECTIONS + 10)]
        process = psutil.Process(mine.running[name].popen.pid)

        def held(process: psutil.Process = process) -> int:
            return sum(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections("tcp"))

        assert held() <= MAX_CONNECTIONS + 10  # and those to the admin endpoint
        wait_until(lambda: sum(client.until_closed(0.001) for client in clients) >= 10)  # noqa: B023 - called here


def hold_calls(mine: Mine, stack: ExitStack) -> None:
    """Open more streams and calls than there may be, of which half never send their request."""
    for name, path in STREAMS.items():
        for number in range(MAX_CALLS // MAX_STREAMS + 2):
            client = stack.enter_context(RawClient(mine.ports[name], source=ABUSER))
            client.read(0.05)
            method = path if number % 2 else CALLS[name]
            client.send(*(client.opening(method) for _ in range(MAX_STREAMS + 50)))


def hold_memory(mine: Mine, stack: ExitStack) -> None:
    """Send half messages, and read no response."""
    unread = {SettingsFrame.INITIAL_WINDOW_SIZE: 0}
    clients = {
        name: stack.enter_context(RawClient(mine.ports[name], source=ABUSER, settings=settings))
        for name, settings in (("rng", unread), ("hasher", None))
    }
    for client in clients.values():
        client.read(0.1)
    for _ in range(20):
        request = StreamRandomBytesRequest(
            batches=[StreamRandomBytesRequest.Batch(count=65_536, size=32)]
        ).SerializeToString()
        clients["rng"].open(STREAMS["rng"], request)
        clients["hasher"].send_data(clients["hasher"].open(STREAMS["hasher"]), message(bytes(LARGEST))[:-1])


def come_and_go(mine: Mine, stack: ExitStack) -> None:
    del stack  # nothing is held
    for name, path in STREAMS.items():
        for _ in range(300):
            with RawClient(mine.ports[name], source=ABUSER) as client:
                client.open(CALLS[name], SIZE_4)
                client.open(path)


ABUSES: tuple[Abuse, ...] = (
    hold_half_requests,
    flood_with_frames,
    hold_connections,
    hold_calls,
    hold_memory,
    come_and_go,
)


def memory(mine: Mine, name: str) -> int:
    return int(psutil.Process(mine.running[name].popen.pid).memory_info().rss)


@pytest.fixture(scope="module")
def mine(mine: Mine) -> Iterator[Mine]:
    """A mine after a first round of abuse, which allocates what is kept."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4_096, hard)), hard))
    for name in FULL_NAMES:
        mine.start(name, PACE="full", DELAY=0.01)
    mine.start("worker", PACE="full", BATCH_SIZE=16, WINDOW_SIZE=4, REPORT_INTERVAL=0.2)
    mine.start("webui")
    for name in SERVICES:
        mine.until(name, READY)
    for abuse in ABUSES:
        with ExitStack() as stack:
            abuse(mine, stack)
            mine.mines_on()
    yield mine
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def kept_before(mine: Mine) -> dict[str, int]:
    return {name: memory(mine, name) for name in SERVICES}


def assert_healthy(mine: Mine) -> None:
    """Check that all services become ready, and that work goes on."""
    for name in SERVICES:
        mine.until(name, READY)
    mine.mines_on()


@pytest.mark.parametrize("abuse", ABUSES)
def test_services_stay_healthy(mine: Mine, kept_before: dict[str, int], abuse: Abuse) -> None:
    logged = {name: len(mine.running[name].text) for name in SERVICES}
    with ExitStack() as stack:
        abuse(mine, stack)
        assert_healthy(mine)
    assert_healthy(mine)
    for name in SERVICES:
        text = mine.running[name].text[logged[name] :]
        assert "Traceback" not in text, text[:4_000]
        assert len(text) < MAX_LOG_BYTES, text[:4_000]
    for name, kept in kept_before.items():
        wait_until(lambda: memory(mine, name) <= MAX_GROWTH * kept)  # noqa: B023 - called here


def test_the_worker_was_not_affected_and_every_hash_is_counted_once(mine: Mine) -> None:
    mine.mines_on()
    worker = mine.running["worker"]
    assert worker.stop() == 0, worker.text
    assert "RESOURCE_EXHAUSTED" not in worker.text
    # A server that the machine holds up for seconds may send no response to a ping.
    assert not [line for line in worker.text.splitlines() if "UNAVAILABLE" in line and "ping timeout" not in line]
    assert mine.redis.hashes == worker.units_logged
