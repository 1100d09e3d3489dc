import asyncio
import signal
import time

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from support.admin_endpoint import http_get
from support.served import HASHER, RNG, health
from support.service_process import ServiceProcess, ServiceProcesses
from support.waiting import until

from chassis import grpc_options

BATCH = StreamRandomBytesRequest(batches=[StreamRandomBytesRequest.Batch(count=1, size=32)])
TERM, INT = signal.SIGTERM, signal.SIGINT

# What a drain of 2.5 s takes less than, be the machine busy; containers are killed after 10 s.
DRAIN_LIMIT_S = 8
# Less than a drain that waits for what never ends.
AT_ONCE_S = 2.4
# Of patient_rng_svc.
PATIENT_DRAIN_LIMIT_S = 25


def channel_to(process: ServiceProcess) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{process.port}")


async def ended(process: ServiceProcess) -> tuple[int, float]:
    """Return the exit code, and the seconds that the process took to end."""
    begin = time.monotonic()
    code = await asyncio.to_thread(process.popen.wait, 20)
    return code, time.monotonic() - begin


@pytest.mark.parametrize(("name", "number"), [("rng", TERM), ("hasher", INT)])
async def test_an_idle_server_ends_at_once(processes: ServiceProcesses, name: str, number: signal.Signals) -> None:
    """A client like ours watches the server's health for as long as its channel is open."""
    process = processes.start(name)
    process.wait_until_started()
    options = grpc_options.client(RNG if name == "rng" else HASHER)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}", options=options) as channel:
        await channel.channel_ready()
        process.send(number)
        code, seconds = await ended(process)
    assert code == 0
    assert seconds < AT_ONCE_S
    assert [line.rsplit("] ")[1] for line in process.text.splitlines()][-2:] == ["stopping", "stopped"]


async def test_a_stream_that_never_ends_holds_up_a_stop_for_the_time_of_a_drain(processes: ServiceProcesses) -> None:
    process = processes.start("rng")
    async with channel_to(process) as channel:
        stream = RngServiceStub(channel).StreamRandomBytes()
        await stream.write(BATCH)
        await stream.read()
        process.send(TERM)
        code, seconds = await ended(process)
        assert code == 0
        assert 2 < seconds < DRAIN_LIMIT_S
        assert await stream.code() is not grpc.StatusCode.OK
    [line] = [line for line in process.text.splitlines() if "code=" in line]
    assert "StreamRandomBytes ended early" in line
    assert "code=CANCELLED" in line


async def test_a_second_signal_ends_the_process_at_once(processes: ServiceProcesses) -> None:
    process = processes.start("rng")
    async with channel_to(process) as channel:
        stream = RngServiceStub(channel).StreamRandomBytes()
        await stream.initial_metadata()
        process.send(TERM)
        process.wait_for("stopping")
        process.send(INT)
        code, seconds = await ended(process)
        stream.cancel()
    assert code == 128 + INT
    assert seconds < AT_ONCE_S


async def test_a_stopping_server_reports_it_refuses_new_calls_and_completes_its_streams(
    processes: ServiceProcesses,
) -> None:
    """It reports so to a client that watches its health, and over HTTP with the reason, while a stream is open."""
    process = processes.start("system.chassis.patient_rng", PORT=0)
    async with channel_to(process) as channel, asyncio.timeout(30):
        watch = health(channel).Watch(HealthCheckRequest(service=RNG))
        statuses = aiter(watch)
        while (await anext(statuses)).status != HealthCheckResponse.SERVING:
            pass
        metrics_port = process.metrics_port
        stream = RngServiceStub(channel).StreamRandomBytes()
        outstanding = 8  # at the classic pace 0.8 s
        for _ in range(outstanding):
            await stream.write(BATCH)
        await stream.read()
        assert await asyncio.to_thread(http_get, metrics_port, "/readyz") == (200, "ready\n")

        process.send(TERM)
        assert (await anext(statuses)).status == HealthCheckResponse.NOT_SERVING
        watch.cancel()  # as a client does when it closes a connection
        # A client hears of it a little later, and may have opened a stream by then.
        late = RngServiceStub(channel).StreamRandomBytes(iter([BATCH]))
        assert len([answer async for answer in late]) == 1
        assert await asyncio.to_thread(http_get, metrics_port, "/readyz") == (503, "not ready: draining\n")
        assert await asyncio.to_thread(http_get, metrics_port, "/healthz") == (200, "alive\n")

        async def refuses() -> bool:
            return await health(channel).Check(HealthCheckRequest(), timeout=1).code() is grpc.StatusCode.UNAVAILABLE

        await until(refuses)
        await stream.write(BATCH)
        await stream.done_writing()
        for _ in range(outstanding):  # those that were not read before the signal, and the one after it
            assert await stream.read() != grpc.aio.EOF
        assert await stream.read() == grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        code, seconds = await ended(process)
    assert code == 0
    assert seconds < PATIENT_DRAIN_LIMIT_S / 2
