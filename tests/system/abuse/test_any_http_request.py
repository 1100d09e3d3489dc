"""Whatever an HTTP endpoint is asked, it answers, or says that the request is bad, and nobody else notices."""

import asyncio
import http.client
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.redis_server import redis_server
from support.service_process import service_processes
from support.unharmed import ready, unharmed

PATHS = (
    *("/", "/json", "/api/history", "/api/history?seconds=60", "/api/history?seconds=900&by=worker", "/api/load-tests"),
    *("/events", "/static/page.js", "/static/vendor/uplot/uPlot.esm.js", "/static/../app.py", "/static/%2e%2e/app.py"),
    *("/static/%00", "/static//etc/passwd", "/healthz", "/readyz", "/metrics", "//", "/?", "*", "http://x/json"),
)
METHODS = ("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "X")
HEADERS = (
    *("Accept", "Accept-Encoding", "Last-Event-ID", "If-None-Match", "If-Modified-Since", "Range", "Cookie", "Origin"),
    *("Host", "Connection", "Upgrade", "Expect", "Content-Length", "Transfer-Encoding", "Content-Type", "traceparent"),
    *("X-Forwarded-For", "Authorization", "Content-Encoding", "Sec-Fetch-Site"),
)
VALUES = (
    *("", "*", "gzip", "gzip;q=0", "gzip;q=x", "identity", "0", "-1", "99999999999999999999", "bytes=0-1", "bytes=9-1"),
    *("close", "keep-alive, Upgrade", "websocket", "100-continue", "chunked", "application/openmetrics-text", "*/*"),
    *("0000000000000000-1", "text/event-stream", "00-00000000000000000000000000000001-0000000000000001-01", "Bearer x"),
    *("Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Jan 0000 00:00:00 GMT", '"x", W/"y", *', "localhost", "[::1]:1", "é"),
)

EXAMPLES = 250
WARM_UP = 60
TIMEOUT = 10.0
"""Seconds in which an answer begins."""

printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=40)
"""Latin-1 without what ends a line; what is more broken than that is sent elsewhere."""

targets = st.one_of(
    st.sampled_from(PATHS),
    printable.map(lambda rest: "/" + rest),
    printable.map(lambda rest: "/static/" + rest),
    st.tuples(st.sampled_from(PATHS), printable).map("?".join),
    printable.map(lambda value: f"/api/history?seconds={value}"),
)
fields = st.lists(
    st.tuples(st.sampled_from(HEADERS), st.sampled_from(VALUES) | printable)
    # aiohttp repeats it in its answer, and fails to if it is no UTF-8; that closes this connection and no other.
    .filter(lambda field: field[0] != "Expect" or field[1].isascii()),
    max_size=5,
)


@dataclass
class Endpoint:
    pid: int
    port: int
    metrics_port: int
    text: Callable[[], str]


@pytest.fixture(scope="module")
def webui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder: Path = tmp_path_factory.mktemp("webui")
    # What it keeps in memory is asked here, and coverage keeps much.
    with redis_server(folder / "redis") as redis, service_processes(folder) as processes:
        process = processes.start("webui", REDIS_URL=redis.url)
        process.wait_until_started()
        metrics_port = process.metrics_port
        deadline = time.monotonic() + TIMEOUT
        while not ready(f"http://127.0.0.1:{metrics_port}/readyz"):
            assert time.monotonic() < deadline, process.text
        yield Endpoint(process.popen.pid, process.port, metrics_port, lambda: process.text)


@contextmanager
def asked(port: int, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> Iterator[int | None]:
    """The status of the answer; None when the connection was closed without one."""
    named = {name.lower() for name, _ in headers}
    if "host" not in named:
        headers = [("Host", f"127.0.0.1:{port}"), *headers]
    if body and not named & {"content-length", "transfer-encoding"}:
        headers = [*headers, ("Content-Length", str(len(body)))]
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    with closing(socket.create_connection(("127.0.0.1", port), TIMEOUT)) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1") + body)
        with closing(http.client.HTTPResponse(connection, method=method)) as response:
            try:
                response.begin()
            except (http.client.BadStatusLine, ConnectionError):
                yield None
            else:
                yield response.status


def send(port: int, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(METHODS), targets, fields, st.binary(max_size=40))
    def each(method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> None:
        with asked(port, method, target, headers, body) as status:
            if status is None:  # nothing is tunnelled here, and what a client says into its tunnel may come first
                assert method == "CONNECT"
            else:
                assert 200 <= status < 500

    each()


@pytest.mark.parametrize("port", ["port", "metrics_port"])
async def test_any_request_is_answered_or_refused(webui: Endpoint, port: str) -> None:
    said = len(webui.text())
    with (
        asked(webui.port, "GET", "/events", [], b"") as status,
        closing(socket.create_connection(("127.0.0.1", webui.port), TIMEOUT)) as other,
    ):
        assert status == 200
        other.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await asyncio.to_thread(send, getattr(webui, port), WARM_UP)
        async with unharmed(webui.pid, f"http://127.0.0.1:{webui.metrics_port}/readyz"):
            await asyncio.to_thread(send, getattr(webui, port), EXAMPLES)
    assert "Traceback" not in webui.text()[said:], webui.text()[said:][:4_000]
