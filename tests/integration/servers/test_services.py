import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from itertools import starmap
from typing import Any, TypeVar

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest, StreamHashesRequest
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceStub
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from structlog.testing import capture_logs
from support.served import HASHER, RNG, hasher, health, raw_stream, rng, until_failure, violation

LARGEST = 2 * 1024 * 1024


def random_batch(count: int, size: int, batch_id: int = 0) -> StreamRandomBytesRequest:
    return StreamRandomBytesRequest(batches=[StreamRandomBytesRequest.Batch(batch_id=batch_id, count=count, size=size)])


def hash_batch(length: int, size: int, batch_id: int = 0) -> StreamHashesRequest:
    batch = StreamHashesRequest.Batch(batch_id=batch_id, data=os.urandom(length), message_size=size)
    return StreamHashesRequest(batches=[batch])


Request = TypeVar("Request", StreamRandomBytesRequest, StreamHashesRequest)


def together(*requests: Request) -> Request:
    """One request with the batches of all."""
    merged = type(requests[0])()
    for request in requests:
        merged.MergeFrom(request)
    return merged


def digests(batch: StreamHashesRequest.Batch) -> bytes:
    data, size = batch.data, batch.message_size
    return b"".join(sha256(data[i : i + size]).digest() for i in range(0, len(data), size))


@dataclass(frozen=True)
class Service:
    """How one of the two services is served and called."""

    serve: Any
    open: Callable[[Any], Any]
    batch: Callable[[int], Message]
    call: Message


SERVICES = {
    RNG: Service(
        rng,
        lambda channel: RngServiceStub(channel).StreamRandomBytes(),
        lambda number: random_batch(1, 32, number),
        GetRandomBytesRequest(size=32),
    ),
    HASHER: Service(
        hasher,
        lambda channel: HasherServiceStub(channel).StreamHashes(),
        lambda number: hash_batch(64, 32, number),
        HashRequest(data=b"x"),
    ),
}
PATHS: dict[type[Message], str] = {
    GetRandomBytesRequest: f"/{RNG}/GetRandomBytes",
    StreamRandomBytesRequest: f"/{RNG}/StreamRandomBytes",
    HashRequest: f"/{HASHER}/Hash",
    StreamHashesRequest: f"/{HASHER}/StreamHashes",
}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Service:
    return SERVICES[request.param]


@pytest.mark.parametrize("size", [1, 32, 4096, 128 * 1024 + 1, LARGEST])
async def test_one_request_is_answered_by_name(size: int) -> None:
    async with rng(instance="rng-7") as channel:
        piece = await RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=size))
    assert (len(piece.data), piece.served_by) == (size, "rng-7")
    async with hasher(instance="hasher-7") as channel:
        response = await HasherServiceStub(channel).Hash(HashRequest(data=piece.data))
    assert (response.digest, response.served_by) == (sha256(piece.data).digest(), "hasher-7")
    assert response.hex_digest == response.digest.hex()


async def test_no_random_bytes_come_twice() -> None:
    async with rng() as channel:
        stub = RngServiceStub(channel)
        pieces = {(await stub.GetRandomBytes(GetRandomBytesRequest(size=32))).data for _ in range(20)}
        packed = b"".join(
            [
                batch.data
                async for response in stub.StreamRandomBytes(iter([random_batch(10, 32)] * 2))
                for batch in response.batches
            ]
        )
    assert len(pieces | {packed[begin : begin + 32] for begin in range(0, len(packed), 32)}) == 40


SHAPES = ((1, 32, 7), (65_536, 32, 2**64 - 1), (1, 32, 0), (65_536, 1, 7), (512, 32, 1), (1, LARGEST, 3), (3, 7, 4))
# Batches of requests: each alone, and together as many as are allowed.
REQUESTS = [*([shape] for shape in SHAPES), [SHAPES[0], SHAPES[6], SHAPES[4]], [(1_024, 32, 8)] * 64]


async def test_batches_of_random_bytes_are_answered_in_order_with_their_ids_and_sizes() -> None:
    async with rng() as channel:
        requests = (together(*starmap(random_batch, shapes)) for shapes in REQUESTS)
        stream = RngServiceStub(channel).StreamRandomBytes(requests)
        answers = [[(batch.batch_id, len(batch.data)) for batch in answer.batches] async for answer in stream]
    assert answers == [[(batch_id, count * size) for count, size, batch_id in shapes] for shapes in REQUESTS]


async def test_batches_are_hashed_in_order_on_each_of_many_streams() -> None:
    """Small ones, hashed at once, do not pass large ones, hashed in a thread."""
    streams = [
        [together(*(hash_batch(count * size, size, number) for count, size, number in shapes)) for shapes in REQUESTS]
        for _ in range(3)
    ]

    async def answers(channel: grpc.aio.Channel, requests: list[StreamHashesRequest]) -> list[list[tuple[int, bytes]]]:
        stream = HasherServiceStub(channel).StreamHashes(iter(requests))
        return [[(batch.batch_id, batch.digests) for batch in answer.batches] async for answer in stream]

    async with hasher() as channel:
        found = await asyncio.gather(*(answers(channel, requests) for requests in streams))
    assert found == [
        [[(each.batch_id, digests(each)) for each in request.batches] for request in requests] for requests in streams
    ]


async def test_a_stream_names_its_server_and_answers_each_batch_before_the_next(service: Service) -> None:
    async with service.serve(instance="replica-7") as channel, asyncio.timeout(20):
        stream = service.open(channel)
        assert ("served-by", "replica-7") in tuple(await stream.initial_metadata())
        for number in range(3):
            await stream.write(service.batch(number))
            assert [each.batch_id for each in (await stream.read()).batches] == [number]
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK


BYTES = "1 to 2097152 bytes"
OUT_OF_BOUNDS = [
    (GetRandomBytesRequest(size=0), "size", f"0 is not allowed, it must be {BYTES}"),
    (GetRandomBytesRequest(size=LARGEST + 1), "size", f"2097153 is not allowed, it must be {BYTES}"),
    (HashRequest(), "data", f"0 is not allowed, it must be {BYTES} long"),
    (HashRequest(data=bytes(LARGEST + 1)), "data", f"2097153 is not allowed, it must be {BYTES} long"),
    (random_batch(0, 32), "batches[0].count", "0 is not allowed, it must be 1 to 65536 messages"),
    (random_batch(65_537, 1), "batches[0].count", "65537 is not allowed, it must be 1 to 65536 messages"),
    (random_batch(1, 0), "batches[0].size", f"0 is not allowed, it must be {BYTES}"),
    (random_batch(1, LARGEST + 1), "batches[0].size", f"2097153 is not allowed, it must be {BYTES}"),
    (
        random_batch(65_536, 33),
        "batches[0].size",
        "33 is not allowed, it must be at most 2097152 bytes with count 65536",
    ),
    (
        random_batch(2, LARGEST),
        "batches[0].size",
        "2097152 is not allowed, it must be at most 2097152 bytes with count 2",
    ),
    (hash_batch(0, 32), "batches[0].data", f"0 is not allowed, it must be {BYTES} long"),
    (hash_batch(LARGEST + 32, 32), "batches[0].data", f"2097184 is not allowed, it must be {BYTES} long"),
    (hash_batch(32, 0), "batches[0].message_size", f"0 is not allowed, it must be {BYTES}"),
    (hash_batch(32, LARGEST + 1), "batches[0].message_size", f"2097153 is not allowed, it must be {BYTES}"),
    (hash_batch(33, 32), "batches[0].data", "33 bytes long is not allowed, it must be a multiple of message_size 32"),
    (hash_batch(65_537, 1), "batches[0].data", "65537 messages is not allowed, it must be 1 to 65536 messages"),
    (
        together(*[random_batch(1, 1)] * 3, random_batch(0, 1)),
        "batches[3].count",
        "0 is not allowed, it must be 1 to 65536 messages",
    ),
    (StreamRandomBytesRequest(), "batches", "0 is not allowed, it must be 1 to 64 batches"),
    (together(*[hash_batch(1, 1)] * 65), "batches", "65 is not allowed, it must be 1 to 64 batches"),
    (
        together(hash_batch(65_536, 1), hash_batch(1, 1)),
        "batches",
        "65537 messages is not allowed, it must be at most 65536 messages together",
    ),
    (
        together(random_batch(1, LARGEST), random_batch(1, 1)),
        "batches",
        "2097153 bytes is not allowed, it must be at most 2097152 bytes together",
    ),
]
NO_MESSAGE = ("(message)", "1 bytes is not allowed, it must be a message of this method's request type")


@pytest.mark.parametrize(
    ("path", "bad", "field", "description"),
    [
        *((PATHS[type(bad)], bad, field, description) for bad, field, description in OUT_OF_BOUNDS),
        *((path, None, *NO_MESSAGE) for path in PATHS.values()),
    ],
)
async def test_a_request_out_of_bounds_is_refused_whole_with_its_field_after_what_came_before_and_ends_no_other_stream(
    path: str, bad: Message | None, field: str, description: str
) -> None:
    service = SERVICES[path.split("/")[1]]
    before = [service.batch(5).SerializeToString()] if "Stream" in path else []
    sent = b"\xff" if bad is None else bad.SerializeToString()
    async with service.serve() as channel, asyncio.timeout(20):
        other = service.open(channel)
        await other.write(service.batch(1))
        await other.read()
        answers, failure = await until_failure(raw_stream(channel, path, *before, sent))
        assert violation(failure) == (field, f"{field}: {description}")
        assert len(answers) == len(before)
        await other.write(service.batch(2))
        assert [each.batch_id for each in (await other.read()).batches] == [2]
        await other.done_writing()
        assert await other.code() is grpc.StatusCode.OK


async def test_calls_and_the_batches_of_streams_have_their_turns_at_one_pace(service: Service) -> None:
    async def answers(*requests: Message) -> int:
        raw = (request.SerializeToString() for request in requests)
        return len([each async for each in raw_stream(channel, PATHS[type(requests[0])], *raw)])

    async with service.serve(delay=0.1, concurrency=1) as channel:
        begin = time.monotonic()
        calls = (answers(service.call) for _ in range(5))
        batches: Any = [service.batch(1)] * 2
        both = answers(*batches, together(*batches, batches[0]))
        assert await asyncio.gather(*calls, both) == [1, 1, 1, 1, 1, 5], "each batch comes back when it is done"
        assert time.monotonic() - begin >= 0.98


BATCH = StreamHashesRequest(batches=[StreamHashesRequest.Batch(batch_id=1, data=bytes(8), message_size=8)])


@pytest.mark.parametrize(("kind", "code"), [("error_rate", "UNAVAILABLE"), ("hang_rate", "DEADLINE_EXCEEDED")])
async def test_about_as_many_requests_fail_as_are_to_and_health_is_serving_and_the_log_says_so(
    kind: str, code: str
) -> None:
    faults: dict[str, Any] = {f"fault_{kind}": 0.5}
    with capture_logs() as lines:
        async with rng(**faults) as channel:
            stub: Any = RngServiceStub(channel)
            calls = [stub.GetRandomBytes(GetRandomBytesRequest(size=8), timeout=3) for _ in range(200)]
            codes = Counter([(await call.code()).name for call in calls])
            response = await health(channel).Check(HealthCheckRequest(service=RNG))
    assert set(codes) == {"OK", code}
    assert 60 < codes[code] < 140
    [line] = [line for line in lines if line["event"] == "faults injected"]
    assert (line["log_level"], line[kind]) == ("warning", 0.5)
    assert response.status == HealthCheckResponse.SERVING


async def test_a_batch_that_hangs_leaves_its_stream_open() -> None:
    async with hasher(fault_hang_rate=1) as channel:
        reading = asyncio.create_task(until_failure(HasherServiceStub(channel).StreamHashes(iter([BATCH]))))
        assert await asyncio.wait((reading,), timeout=0.5) == (set(), {reading})


async def test_every_request_waits() -> None:
    async with hasher(fault_slow=0.2) as channel:
        began = time.monotonic()
        assert len([each async for each in HasherServiceStub(channel).StreamHashes(iter([BATCH] * 2))]) == 2
        assert time.monotonic() - began >= 0.39
