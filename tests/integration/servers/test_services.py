"""rng and hasher over real gRPC: what they answer, what they refuse, and their paces."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest, StreamHashesRequest
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceStub
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from google.protobuf.message import Message
from support.served import HASHER, RNG, hasher, raw_call, raw_stream, rng, until_failure, violation

LARGEST = 2 * 1024 * 1024


def stream_of_hashes(length: int, size: int, batch_id: int = 0) -> StreamHashesRequest:
    return StreamHashesRequest(batch_id=batch_id, data=os.urandom(length), message_size=size)


def digests(request: StreamHashesRequest) -> bytes:
    data, size = request.data, request.message_size
    return b"".join(sha256(data[i : i + size]).digest() for i in range(0, len(data), size))


def unary(channel: Any, request: Message) -> Any:
    if isinstance(request, HashRequest):
        return HasherServiceStub(channel).Hash(request)
    assert isinstance(request, GetRandomBytesRequest)
    return RngServiceStub(channel).GetRandomBytes(request)


@dataclass(frozen=True)
class Service:
    """What one of the two services is called and sent."""

    serve: Any
    unary: str
    stream: str
    piece: Message
    no_message: bytes
    batch: Callable[[int], Message]

    def open(self, channel: grpc.aio.Channel) -> Any:
        if self.serve is rng:
            return RngServiceStub(channel).StreamRandomBytes()
        return HasherServiceStub(channel).StreamHashes()


SERVICES = {
    "rng": Service(
        rng, f"/{RNG}/GetRandomBytes", f"/{RNG}/StreamRandomBytes", GetRandomBytesRequest(size=32),
        b"\xff\xff\xff", lambda number: StreamRandomBytesRequest(batch_id=number, count=1, size=32),
    ),
    "hasher": Service(
        hasher, f"/{HASHER}/Hash", f"/{HASHER}/StreamHashes", HashRequest(data=b"x"),
        b"\x0a\xff", lambda number: stream_of_hashes(64, 32, number),
    ),
}  # fmt: skip


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Service:
    return SERVICES[request.param]


@pytest.mark.parametrize("size", [1, 32, 4096, 128 * 1024 + 1, LARGEST])
async def test_one_request_is_answered_by_name(size: int) -> None:
    async with rng(instance="rng-7") as channel:
        piece = await unary(channel, GetRandomBytesRequest(size=size))
    assert (len(piece.data), piece.served_by) == (size, "rng-7")
    async with hasher(instance="hasher-7") as channel:
        response = await unary(channel, HashRequest(data=piece.data))
    assert (response.digest, response.served_by) == (sha256(piece.data).digest(), "hasher-7")
    assert response.hex_digest == response.digest.hex()


async def test_no_random_bytes_come_twice() -> None:
    requests = [StreamRandomBytesRequest(batch_id=1, count=10, size=32)] * 2
    async with rng() as channel:
        pieces = {(await unary(channel, GetRandomBytesRequest(size=32))).data for _ in range(20)}
        packed = b"".join([batch.data async for batch in RngServiceStub(channel).StreamRandomBytes(iter(requests))])
    assert len(pieces | {packed[begin : begin + 32] for begin in range(0, len(packed), 32)}) == 40


SHAPES = ((7, 1, 32), (2**64 - 1, 65_536, 32), (0, 1, 32), (7, 65_536, 1), (1, 512, 32), (3, 1, LARGEST), (4, 3, 7))


async def test_batches_of_random_bytes_are_answered_in_order_with_their_ids_and_sizes() -> None:
    requests = [StreamRandomBytesRequest(batch_id=number, count=count, size=size) for number, count, size in SHAPES]
    async with rng() as channel:
        stream = RngServiceStub(channel).StreamRandomBytes(iter(requests))
        answers = [(answer.batch_id, len(answer.data)) async for answer in stream]
    assert answers == [(number, count * size) for number, count, size in SHAPES]


async def test_batches_are_hashed_in_order_on_each_of_many_streams() -> None:
    """Small ones, hashed at once, do not pass large ones, hashed in a thread."""
    streams = [[stream_of_hashes(count * size, size, number) for number, count, size in SHAPES] for _ in range(3)]

    async def answers(channel: grpc.aio.Channel, requests: list[StreamHashesRequest]) -> list[tuple[int, bytes]]:
        stream = HasherServiceStub(channel).StreamHashes(iter(requests))
        return [(answer.batch_id, answer.digests) async for answer in stream]

    async with hasher() as channel:
        found = await asyncio.gather(*(answers(channel, requests) for requests in streams))
    assert found == [[(each.batch_id, digests(each)) for each in requests] for requests in streams]


async def test_a_stream_names_its_server_and_answers_each_batch_before_the_next(service: Service) -> None:
    async with service.serve(instance="replica-7") as channel, asyncio.timeout(20):
        stream = service.open(channel)
        assert ("served-by", "replica-7") in tuple(await stream.initial_metadata())
        for number in range(3):
            await stream.write(service.batch(number))
            assert (await stream.read()).batch_id == number
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK


BYTES = "1 to 2097152 bytes"


@pytest.mark.parametrize(
    ("request_", "field", "description"),
    [
        (GetRandomBytesRequest(size=0), "size", f"0 is not allowed, it must be {BYTES}"),
        (GetRandomBytesRequest(size=LARGEST + 1), "size", f"2097153 is not allowed, it must be {BYTES}"),
        (HashRequest(), "data", f"0 is not allowed, it must be {BYTES} long"),
        (HashRequest(data=bytes(LARGEST + 1)), "data", f"2097153 is not allowed, it must be {BYTES} long"),
    ],
)
async def test_a_request_out_of_bounds_is_refused_and_the_next_is_served(
    request_: Message, field: str, description: str
) -> None:
    service = SERVICES["hasher" if isinstance(request_, HashRequest) else "rng"]
    async with service.serve() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await unary(channel, request_)
        assert violation(error.value) == (field, f"{field}: {description}")
        await unary(channel, service.piece)


RANDOM_BATCHES = [
    (0, 32, "count", "0 is not allowed, it must be 1 to 65536 messages"),
    (65_537, 1, "count", "65537 is not allowed, it must be 1 to 65536 messages"),
    (1, 0, "size", f"0 is not allowed, it must be {BYTES}"),
    (1, LARGEST + 1, "size", f"2097153 is not allowed, it must be {BYTES}"),
    (65_536, 33, "size", "33 is not allowed, it must be at most 2097152 bytes with count 65536"),
    (2, LARGEST, "size", "2097152 is not allowed, it must be at most 2097152 bytes with count 2"),
]
HASH_BATCHES = [
    (0, 32, "data", f"0 is not allowed, it must be {BYTES} long"),
    (LARGEST + 32, 32, "data", f"2097184 is not allowed, it must be {BYTES} long"),
    (32, 0, "message_size", f"0 is not allowed, it must be {BYTES}"),
    (32, LARGEST + 1, "message_size", f"2097153 is not allowed, it must be {BYTES}"),
    (33, 32, "data", "33 bytes long is not allowed, it must be a multiple of message_size 32"),
    (65_537, 1, "data", "65537 messages is not allowed, it must be 1 to 65536 messages"),
]


@pytest.mark.parametrize(
    ("name", "total", "size", "field", "description"),
    [("rng", *case) for case in RANDOM_BATCHES] + [("hasher", *case) for case in HASH_BATCHES],
)
async def test_a_batch_out_of_bounds_ends_its_stream_and_no_other(
    name: str, total: int, size: int, field: str, description: str
) -> None:
    service = SERVICES[name]
    bad: Message = StreamHashesRequest(batch_id=6, data=bytes(total), message_size=size) if name == "hasher" else (
        StreamRandomBytesRequest(batch_id=6, count=total, size=size)
    )  # fmt: skip
    async with service.serve() as channel, asyncio.timeout(20):
        other = service.open(channel)
        await other.write(service.batch(1))
        await other.read()
        requests = [each.SerializeToString() for each in (service.batch(5), bad, service.batch(7))]
        answers, failure = await until_failure(raw_stream(channel, service.stream, *requests))
        assert violation(failure) == (field, f"{field}: {description}")
        assert len(answers) == 1
        await other.write(service.batch(2))
        assert (await other.read()).batch_id == 2
        await other.done_writing()
        assert await other.code() is grpc.StatusCode.OK


async def test_bytes_that_are_no_message_are_refused_after_what_came_before(service: Service) -> None:
    async with service.serve() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await raw_call(channel, service.unary, service.no_message)
        field, description = violation(error.value)
        assert field == "(message)"
        assert description.startswith(f"(message): {len(service.no_message)} bytes is not allowed")
        good = service.batch(5).SerializeToString()
        answers, failure = await until_failure(raw_stream(channel, service.stream, good, service.no_message))
        assert violation(failure)[0] == "(message)"
        assert len(answers) == 1
        await unary(channel, service.piece)


async def seconds_of(service: Service, channel: grpc.aio.Channel, *, calls: int, batches: int, streams: int) -> float:
    """Send calls one by one, and streams of batches, at once; return the seconds that all took."""

    async def stream() -> None:
        requests = [service.batch(number).SerializeToString() for number in range(batches)]
        assert len([answer async for answer in raw_stream(channel, service.stream, *requests)]) == batches

    async def one_by_one() -> None:
        for _ in range(calls):
            await unary(channel, service.piece)

    begin = time.monotonic()
    await asyncio.gather(one_by_one(), *(stream() for _ in range(streams)))
    return time.monotonic() - begin


@pytest.mark.parametrize(
    ("name", "settings", "calls", "streams", "seconds"),
    [
        # 10 requests a second, whether they come one by one or on streams.
        ("rng", {"pace": "classic"}, 5, 1, 1.0),
        # 0.1 s for each batch of a stream.
        ("hasher", {"pace": "classic"}, 0, 1, 0.5),
        # Calls and streams count together.
        ("hasher", {"delay": 0.1, "concurrency": 2}, 5, 3, 1.0),
    ],
)
async def test_a_pace_is_kept(name: str, settings: dict[str, Any], calls: int, streams: int, seconds: float) -> None:
    service = SERVICES[name]
    async with service.serve(**settings) as channel:
        assert await seconds_of(service, channel, calls=calls, batches=5, streams=streams) >= seconds - 0.02


async def test_at_classic_pace_hasher_serves_any_number_of_streams_at_once() -> None:
    async with hasher(pace="classic") as channel:
        assert await seconds_of(SERVICES["hasher"], channel, calls=0, batches=1, streams=60) < 5
