"""Spans of single calls, and of streams whose client is none of ours."""

from typing import Any

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest, StreamHashesRequest
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceStub
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from support.otlp_receiver import OtlpReceiver
from support.service_process import ServiceProcess, ServiceProcesses

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
TRACED = f"00-{TRACE}-{SPAN}-01"
NOT_TRACED = f"00-{TRACE}-{SPAN}-00"


def server(
    processes: ServiceProcesses, name: str, collector: OtlpReceiver, **settings: object
) -> tuple[ServiceProcess, grpc.aio.Channel]:
    process = processes.start(name, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **settings)
    return process, grpc.aio.insecure_channel(f"127.0.0.1:{process.port}")


def metadata(traceparent: str) -> Any:
    return (("traceparent", traceparent),)


@pytest.mark.pair(reason="0.1 s is held to 0.5")
async def test_a_call_goes_on_with_the_trace_that_its_metadata_name(
    processes: ServiceProcesses, collector: OtlpReceiver
) -> None:
    process, channel = server(processes, "hasher", collector)
    async with channel:
        await HasherServiceStub(channel).Hash(HashRequest(data=b"x"), metadata=metadata(TRACED))
        await HasherServiceStub(channel).Hash(HashRequest(data=b"x"), metadata=metadata(NOT_TRACED))
        await HasherServiceStub(channel).Hash(HashRequest(data=b"x"))
    assert process.stop() == 0
    (span,) = collector.spans()
    assert (span.name, span.kind) == ("dockercoins.hasher.v1.HasherService/Hash", "SERVER")
    assert (span.trace, span.parent, span.error) == (TRACE, SPAN, None)
    assert 0.09 < span.seconds < 0.5


async def test_a_request_that_is_refused_says_why(processes: ServiceProcesses, collector: OtlpReceiver) -> None:
    process, channel = server(processes, "rng", collector)
    async with channel:
        stub = RngServiceStub(channel)
        assert await stub.GetRandomBytes(GetRandomBytesRequest(size=0), metadata=metadata(TRACED)).code()
        stream = stub.StreamRandomBytes(iter([StreamRandomBytesRequest(count=0, size=1, traceparent=TRACED)]))
        assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert process.stop() == 0
    assert [(span.trace, span.parent) for span in collector.spans()] == [(TRACE, SPAN)] * 2
    assert [span.error for span in collector.spans()] == [
        "INVALID_ARGUMENT: size: 0 is not allowed, it must be 1 to 2097152 bytes",
        "INVALID_ARGUMENT: count: 0 is not allowed, it must be 1 to 65536 messages",
    ]


async def test_a_call_that_is_given_up_is_cancelled(processes: ServiceProcesses, collector: OtlpReceiver) -> None:
    process, channel = server(processes, "rng", collector, DELAY=10)
    async with channel:
        call = RngServiceStub(channel).GetRandomBytes(
            GetRandomBytesRequest(size=1), timeout=1, metadata=metadata(TRACED)
        )
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert process.stop() == 0
    (span,) = collector.spans()
    assert span.error == "CANCELLED"
    assert 0.2 < span.seconds < 9


@pytest.mark.parametrize("traceparent", ["", "nonsense", NOT_TRACED])
async def test_of_a_stream_only_the_requests_that_are_traced_are(
    traceparent: str, processes: ServiceProcesses, collector: OtlpReceiver
) -> None:
    """Nonsense is as good as nothing, so the trace begins here, if it is one of those wanted."""
    process, channel = server(processes, "hasher", collector, PACE="full", OTEL_TRACES_SAMPLER_ARG=0)
    requests = [
        StreamHashesRequest(batch_id=number, data=bytes(8_192), message_size=32, traceparent=text)
        for number, text in enumerate([traceparent, TRACED, traceparent, TRACED])
    ]
    async with channel:
        stream = HasherServiceStub(channel).StreamHashes(iter(requests), metadata=metadata(TRACED))
        assert [len(answer.digests) async for answer in stream] == [8_192] * 4
    assert process.stop() == 0
    assert [(span.trace, span.parent) for span in collector.spans()] == [(TRACE, SPAN)] * 2


@pytest.mark.parametrize(("sampler", "traced"), [("always_on", 3), ("always_off", 0), ("parentbased_always_off", 1)])
async def test_the_sampler_says_whether_the_client_decides(
    sampler: str, traced: int, processes: ServiceProcesses, collector: OtlpReceiver
) -> None:
    process, channel = server(processes, "rng", collector, PACE="full", OTEL_TRACES_SAMPLER=sampler)
    async with channel:
        for traceparent in (TRACED, NOT_TRACED, "nonsense"):
            request = GetRandomBytesRequest(size=1)
            await RngServiceStub(channel).GetRandomBytes(request, metadata=metadata(traceparent))
    assert process.stop() == 0
    assert len(collector.spans()) == traced
