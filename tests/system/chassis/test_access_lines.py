"""The line that each call leaves in the log."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import pytest
import structlog
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest, StreamHashesRequest
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceStub
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import (
    RngServiceServicer,
    RngServiceStub,
    add_RngServiceServicer_to_server,
)
from grpc_health.v1.health_pb2 import HealthCheckRequest
from structlog.testing import capture_logs
from support.served import RNG, hasher, health, raw_call, raw_stream, rng, served, until_failure

from chassis.grpc_server import call_watch
from chassis.grpc_server.caller import MAX_PEER
from rng_svc.settings import RngSettings

Line = dict[str, Any]


async def only_line(lines: list[Any]) -> Line:
    """The one access line, once it is there; a call's client may know of its end a little earlier."""
    async with asyncio.timeout(10):
        while not (found := [line for line in lines if "code" in line]):  # noqa: ASYNC110 - a list tells nobody
            await asyncio.sleep(0.005)
    [line] = found
    assert isinstance(line, dict)
    return line


@pytest.mark.pair(reason="0.1 s is held to 0.4")
async def test_a_unary_call_says_who_asked_what_and_how_much_went_through() -> None:
    request = HashRequest(data=bytes(100))
    with capture_logs() as lines:
        async with hasher(delay=0.1) as channel:
            response = await HasherServiceStub(channel).Hash(request)
        line = await only_line(lines)
    assert line.pop("peer").startswith("ipv4:127.0.0.1:")
    assert 0.09 <= line.pop("seconds") < 0.4
    assert line == {
        "event": "Hash", "log_level": "info", "code": "OK", "batches": 1,
        "bytes_in": request.ByteSize(), "bytes_out": response.ByteSize(),
    }  # fmt: skip


async def test_a_stream_says_so_once_for_all_its_batches() -> None:
    requests = [StreamHashesRequest(batch_id=number, data=bytes(64), message_size=32) for number in range(3)]
    with capture_logs() as lines:
        async with hasher() as channel:
            stream = HasherServiceStub(channel).StreamHashes(iter(requests), metadata=(("client-id", "worker-1"),))
            responses = [response async for response in stream]
            line = await only_line(lines)
    assert 0 <= line.pop("seconds") < 1
    assert line == {
        "event": "StreamHashes", "log_level": "info", "peer": "worker-1", "code": "OK", "batches": 3,
        "bytes_in": sum(request.ByteSize() for request in requests),
        "bytes_out": sum(response.ByteSize() for response in responses),
    }  # fmt: skip


async def test_what_a_client_calls_itself_is_logged_up_to_a_bound() -> None:
    with capture_logs() as lines:
        async with hasher() as channel:
            stream = HasherServiceStub(channel).StreamHashes(iter([]), metadata=(("client-id", "w" * 5_000),))
            assert [response async for response in stream] == []
            line = await only_line(lines)
    assert line["peer"] == "w" * MAX_PEER


async def test_a_stream_that_is_not_logged_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call for each batch would otherwise take 5 ms longer for nothing."""
    monkeypatch.setattr(call_watch, "CANCELLATION_LAG", 30.0)
    request = StreamHashesRequest(batch_id=1, data=bytes(32), message_size=32)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        async with hasher() as channel, asyncio.timeout(5):
            assert len([response async for response in HasherServiceStub(channel).StreamHashes(iter([request]))]) == 1
    finally:
        structlog.reset_defaults()


async def test_a_unary_call_out_of_bounds_is_logged_as_refused() -> None:
    with capture_logs() as lines:
        async with rng() as channel:
            await RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=0)).code()
            line = await only_line(lines)
    assert (line["code"], line["batches"], line["bytes_in"], line["bytes_out"]) == ("INVALID_ARGUMENT", 0, 0, 0)


@pytest.mark.parametrize("bad", [b"\xff", StreamRandomBytesRequest(count=0, size=32).SerializeToString()])
async def test_a_stream_out_of_bounds_is_logged_as_refused_with_the_batches_before(bad: bytes) -> None:
    good = StreamRandomBytesRequest(count=1, size=32).SerializeToString()
    with capture_logs() as lines:
        async with rng() as channel:
            await until_failure(raw_stream(channel, f"/{RNG}/StreamRandomBytes", good, good, bad))
            line = await only_line(lines)
    assert (line["code"], line["batches"]) == ("INVALID_ARGUMENT", 2)
    assert line["bytes_in"] == 2 * len(good) + len(bad)


async def test_a_unary_call_given_up_is_logged_as_cancelled() -> None:
    with capture_logs() as lines:
        async with rng(delay=10) as channel:
            call = RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=32), timeout=0.1)
            assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            line = await only_line(lines)
    assert (line["event"], line["code"]) == ("GetRandomBytes", "CANCELLED")
    assert 0.05 < line["seconds"] < 1


@pytest.mark.parametrize("busy", [False, True])
async def test_a_stream_given_up_is_logged_as_cancelled(busy: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Both while it waits for a request and while it answers one."""
    with capture_logs() as lines:
        async with rng(delay=10 if busy else 0) as channel:
            stream = RngServiceStub(channel).StreamRandomBytes()
            await stream.initial_metadata()
            await stream.write(StreamRandomBytesRequest(count=1, size=32))
            await asyncio.sleep(0.05)
            stream.cancel()
            line = await only_line(lines)
    assert (line["code"], line["batches"]) == ("CANCELLED", 0 if busy else 1)
    assert line["peer"].startswith("ipv4:127.0.0.1:")


async def test_a_stream_whose_client_is_gone_is_logged_as_cancelled() -> None:
    with capture_logs() as lines:
        async with rng() as channel:
            stream = RngServiceStub(channel).StreamRandomBytes()
            await stream.initial_metadata()
            await channel.close()
            line = await only_line(lines)
    assert line["code"] == "CANCELLED"


class BrokenRng(RngServiceServicer):
    async def GetRandomBytes(self, request: object, context: object) -> Any:  # noqa: N802 - a method of the API
        raise RuntimeError("broken")

    async def StreamRandomBytes(  # noqa: N802 - a method of the API
        self, request_iterator: AsyncIterator[Any], context: object
    ) -> AsyncIterator[Any]:
        async for _ in request_iterator:
            raise RuntimeError("broken")
        yield


async def test_a_defect_is_logged_as_unknown_and_the_server_serves_on() -> None:
    settings = RngSettings(port=0, instance="rng-1")
    add_servicer = partial(add_RngServiceServicer_to_server, BrokenRng())
    async with served(settings, RNG, add_servicer) as channel:
        with capture_logs() as lines:
            code = await RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=1)).code()
            assert code is grpc.StatusCode.UNKNOWN
            line = await only_line(lines)
            assert (line["event"], line["code"]) == ("GetRandomBytes", "UNKNOWN")
        with capture_logs() as lines:
            stream = RngServiceStub(channel).StreamRandomBytes(iter([StreamRandomBytesRequest(count=1, size=1)]))
            assert await stream.code() is grpc.StatusCode.UNKNOWN
            line = await only_line(lines)
            assert (line["event"], line["code"], line["batches"]) == ("StreamRandomBytes", "UNKNOWN", 0)


async def test_what_nobody_watches_leaves_no_line() -> None:
    with capture_logs() as lines:
        async with rng() as channel:
            await health(channel).Check(HealthCheckRequest(service=RNG))
            with pytest.raises(grpc.aio.AioRpcError):
                await raw_call(channel, f"/{RNG}/GetNothing", b"")
    assert [line["event"] for line in lines] == ["listening"]


async def test_calls_that_fail_alike_are_a_line_a_second_with_their_count() -> None:
    """The last ones are said when the server stops, at the latest."""
    calls = 200
    began = time.monotonic()
    with capture_logs() as lines:
        async with rng() as channel:
            stub = RngServiceStub(channel)
            for _ in range(calls):
                await stub.GetRandomBytes(GetRandomBytesRequest(size=0)).code()
            await stub.GetRandomBytes(GetRandomBytesRequest(size=1))
    seconds = time.monotonic() - began
    for event in ("GetRandomBytes", "request refused"):
        failed = [line for line in lines if line["event"] == event and line.get("code") != "OK"]
        assert sum(line["times"] for line in failed) == calls
        assert len(failed) <= seconds + 2
    assert sum(line.get("code") == "OK" for line in lines) == 1


async def test_a_refused_batch_is_named_with_its_stream() -> None:
    bad = StreamRandomBytesRequest(batch_id=17, count=0, size=32)
    with capture_logs() as lines:
        async with rng() as channel:
            metadata = (("client-id", "worker-1"), ("stream-id", "5"))
            stream = RngServiceStub(channel).StreamRandomBytes(iter([bad]), metadata=metadata)
            _, error = await until_failure(stream)
            line = await only_line(lines)
    assert (line["peer"], line["stream"]) == ("worker-1", 5)
    [refused] = [line for line in lines if line["event"] == "request refused"]
    assert refused == {
        "event": "request refused", "log_level": "warning", "method": "StreamRandomBytes", "peer": "worker-1",
        "stream": 5, "batch": 17, "details": error.details(), "times": 1,
    }  # fmt: skip


@pytest.mark.parametrize("number", ["", "five", "9" * 5_000])
async def test_a_stream_whose_number_is_none_has_none(number: str) -> None:
    with capture_logs() as lines:
        async with rng() as channel:
            metadata = (("client-id", "worker-1"), ("stream-id", number))
            async for _ in RngServiceStub(channel).StreamRandomBytes(iter([]), metadata=metadata):
                pass
            line = await only_line(lines)
    assert (line["peer"], line["code"]) == ("worker-1", "OK")
    assert "stream" not in line


async def test_what_is_no_message_is_refused_without_a_batch() -> None:
    good = StreamRandomBytesRequest(batch_id=3, count=1, size=32).SerializeToString()
    with capture_logs() as lines:
        async with rng() as channel:
            await until_failure(raw_stream(channel, f"/{RNG}/StreamRandomBytes", good, b"\xff"))
    [refused] = [line for line in lines if line["event"] == "request refused"]
    assert "batch" not in refused
    assert "1 bytes" in refused["details"]
