"""Connections between services never go through a proxy that the environment names."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest
from support.free_port import free_ports
from system.worker.pool_system import Client, backend

from chassis.settings import ServiceSettings
from chassis.telemetry import trace_export
from worker_svc import step
from worker_svc.batch import Batch
from worker_svc.load_test.unary_calls import UnaryCalls

VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listener that every variable names as the proxy."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        for variable in VARIABLES:
            for name in (variable, variable.upper()):
                monkeypatch.setenv(name, f"http://127.0.0.1:{listener.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield listener


def assert_unused(proxy: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        proxy.accept()


async def test_streams_of_a_worker_use_no_proxy(proxy: socket.socket) -> None:
    port = free_ports(2)
    client = Client([port, port + 1])
    async with backend("a", port) as one, backend("b", port + 1) as other, client.running():
        await client.until(lambda: bool(one.batches and other.batches), limit=20)
    assert_unused(proxy)


async def test_calls_of_the_load_test_use_no_proxy(proxy: socket.socket) -> None:
    port = free_ports(1)
    async with backend("a", port):
        calls = UnaryCalls(step.RANDOM, f"ipv4:127.0.0.1:{port}", client_id="client")
        answered = asyncio.Event()
        calls.on_answer = lambda _: answered.set()
        calls.submit(Batch(1, 4, 32, 0.0))
        async with asyncio.timeout(20):
            await answered.wait()
        await calls.close(0.5)
    assert_unused(proxy)


async def test_spans_may_go_through_the_proxy(proxy: socket.socket) -> None:
    """The collector may be far away."""
    settings = ServiceSettings(otel_exporter_otlp_endpoint="http://collector.example:4318")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20), trace_export.exported("rng", settings, lambda: 5.0) as tracing:
        span = tracing.root("batch", "internal", {})
        assert span is not None
        span.end()
        flushing = asyncio.create_task(asyncio.to_thread(tracing.processor.force_flush))
        connection, _ = await loop.sock_accept(proxy)
        with contextlib.closing(connection):
            connection.settimeout(0)
            request = await loop.sock_recv(connection, 65_536)
            await loop.sock_sendall(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await flushing
    assert request.startswith(b"POST http://collector.example:4318/v1/traces ")
