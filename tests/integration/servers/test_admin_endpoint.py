import asyncio
from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest
import structlog

from chassis.admin_endpoint import MAX_CONNECTIONS, serve
from chassis.health import Health
from chassis.settings import ServiceSettings
from chassis.telemetry import Telemetry

READY = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(Health())


@pytest.fixture
async def port(telemetry: Telemetry) -> AsyncIterator[int]:
    telemetry.health.started()
    async with serve(ServiceSettings(metrics_port=0), telemetry) as port:
        yield port


@pytest.fixture
async def connection(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(20):
        yield reader, writer
    writer.transport.abort()


async def response(reader: asyncio.StreamReader, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["Content-Length"]) if body else 0)


async def test_a_request_may_arrive_in_parts(connection: Streams) -> None:
    reader, writer = connection
    for sent in (READY[:9], READY[9:]):
        writer.write(sent)
        await asyncio.sleep(0.01)
    status, headers, body = await response(reader)
    assert (status, body) == (200, b"ready\n")
    assert headers["Date"].endswith(" GMT")


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ("*/*", "text/plain", b""),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", b"# EOF\n"),
    ],
)
async def test_metrics_have_the_format_that_is_accepted(
    connection: Streams, accept: str, content_type: str, end: bytes
) -> None:
    reader, writer = connection
    writer.write(f"GET /metrics HTTP/1.1\r\nAccept: {accept}\r\n\r\n".encode())
    _, headers, body = await response(reader)
    assert headers["Content-Type"].startswith(content_type)
    assert body.endswith(end)


REQUESTS = (
    READY + READY,
    b"GET /readyz HTTP/1.0\r\n\r\n",
    b"GET /readyz HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /readyz HTTP/1.1\r\nContent-Length: 3000\r\n\r\n" + b"y" * 3_000,
    b"GET /readyz?a=b HTTP/1.1\r\nX-Odd: \xff\r\n\r\n",
)
NO_REQUESTS = (
    b"\r\n\r\n",
    b"GET /readyz\r\n\r\n",
    b"GET /readyz HTTP/2.0\r\n\r\n",
    b"GET  /readyz HTTP/1.1\r\n\r\n",
    b"GET /readyz HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET /readyz HTTP/1.1\r\nX: " + b"y" * 5_000 + b"\r\n\r\n",
    b"y" * 100_000,
)


@pytest.mark.parametrize(
    ("expected", "sent"), [(200, each) for each in REQUESTS] + [(400, each) for each in NO_REQUESTS]
)
async def test_a_connection_is_closed_after_one_request_or_a_bad_one(
    connection: Streams, expected: int, sent: bytes
) -> None:
    reader, writer = connection
    writer.write(sent)
    status, headers, _ = await response(reader)
    assert (status, headers["Connection"]) == (expected, "close")
    assert await reader.read() == b""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("HEAD", "/healthz", 200), ("POST", "/readyz", 405), ("X", "/metrics", 405), ("GET", "/", 404), ("GET", "*", 404)],
)
async def test_other_methods_and_other_paths_are_refused(
    connection: Streams, method: str, path: str, status: int
) -> None:
    reader, writer = connection
    writer.write(f"{method} {path} HTTP/1.1\r\n\r\n".encode())
    assert (await response(reader, body=method != "HEAD"))[0] == status
    assert await reader.read() == b""


async def test_the_oldest_connection_makes_room(port: int) -> None:
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS + 1)]
    assert await held[0][0].read() == b""
    for reader, writer in (held[1], held[-1]):
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert (await response(reader))[0] == 200
    for _, writer in held:
        writer.transport.abort()


async def test_metrics_that_fail_are_logged(telemetry: Telemetry, connection: Streams) -> None:
    telemetry.metrics.register(Mock(spec=["collect"], collect=Mock(side_effect=ValueError("no metrics today"))))
    reader, writer = connection
    with structlog.testing.capture_logs() as said:
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert (await response(reader))[0] == 500
    assert [line["event"] for line in said] == ["metrics failed"]
