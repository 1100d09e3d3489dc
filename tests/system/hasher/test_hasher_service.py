"""hasher over real gRPC: what it answers, and what it refuses."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest, StreamHashesRequest, StreamHashesResponse
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceStub
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest
from support.served import HASHER, hasher, raw_call, raw_stream, until_failure, violation

LARGEST = 2 * 1024 * 1024
WHOLE = StreamHashesRequest(batch_id=5, data=bytes(64), message_size=32)


def expected(request: StreamHashesRequest) -> bytes:
    data, size = request.data, request.message_size
    return b"".join(sha256(data[i : i + size]).digest() for i in range(0, len(data), size))


async def answers(
    channel: grpc.aio.Channel, requests: Sequence[StreamHashesRequest]
) -> AsyncIterator[StreamHashesResponse]:
    async for response in HasherServiceStub(channel).StreamHashes(iter(requests)):
        yield response


@pytest.mark.parametrize("size", [1, 32, 4096, 128 * 1024 + 1, LARGEST])
async def test_one_message_gets_its_digest_in_bytes_and_in_hexadecimal(size: int) -> None:
    data = os.urandom(size)
    async with hasher(instance="hasher-7") as channel:
        response = await HasherServiceStub(channel).Hash(HashRequest(data=data))
    assert response.digest == sha256(data).digest()
    assert response.hex_digest == sha256(data).hexdigest()
    assert response.served_by == "hasher-7"


async def test_batches_are_answered_in_order_with_their_ids_and_digests() -> None:
    """Small ones, hashed at once, do not pass large ones, hashed in a thread."""
    shapes = ((7, 1, 32), (2**64 - 1, 65_536, 32), (0, 1, 32), (7, 65_536, 1), (1, 512, 32), (3, 1, LARGEST), (4, 3, 7))
    asked = [
        StreamHashesRequest(batch_id=batch_id, data=os.urandom(count * size), message_size=size)
        for batch_id, count, size in shapes
    ]
    async with hasher() as channel:
        got = [(answer.batch_id, answer.digests) async for answer in answers(channel, asked)]
    assert got == [(each.batch_id, expected(each)) for each in asked]


async def test_streams_at_once_do_not_mix_up_their_answers() -> None:
    asked = [
        [StreamHashesRequest(batch_id=number, data=os.urandom(32 * 2_000), message_size=32) for number in range(20)]
        for _ in range(4)
    ]

    async def all_answers(channel: grpc.aio.Channel, requests: list[StreamHashesRequest]) -> list[bytes]:
        return [answer.digests async for answer in answers(channel, requests)]

    async with hasher() as channel:
        got = await asyncio.gather(*(all_answers(channel, requests) for requests in asked))
    assert got == [[expected(request) for request in requests] for requests in asked]


async def test_a_stream_says_who_serves_it_before_the_first_request() -> None:
    async with hasher(instance="hasher-7") as channel:
        stream = HasherServiceStub(channel).StreamHashes()
        metadata = await asyncio.wait_for(stream.initial_metadata(), 1)
        assert ("served-by", "hasher-7") in tuple(metadata)
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("size", [0, LARGEST + 1])
async def test_a_message_out_of_bounds_is_refused_and_the_next_is_served(size: int) -> None:
    async with hasher() as channel:
        stub = HasherServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Hash(HashRequest(data=bytes(size)))
        assert violation(error.value) == ("data", f"data: {size} is not allowed, it must be 1 to 2097152 bytes long")
        assert (await stub.Hash(HashRequest(data=b"x"))).digest == sha256(b"x").digest()


@pytest.mark.parametrize(
    ("length", "size", "field", "allowed"),
    [
        (0, 32, "data", "data: 0 is not allowed, it must be 1 to 2097152 bytes long"),
        (LARGEST + 32, 32, "data", "data: 2097184 is not allowed, it must be 1 to 2097152 bytes long"),
        (32, 0, "message_size", "message_size: 0 is not allowed, it must be 1 to 2097152 bytes"),
        (32, LARGEST + 1, "message_size", "message_size: 2097153 is not allowed, it must be 1 to 2097152 bytes"),
        (33, 32, "data", "data: 33 bytes long is not allowed, it must be a multiple of message_size 32"),
        (31, 32, "data", "data: 31 bytes long is not allowed, it must be a multiple of message_size 32"),
        (65_537, 1, "data", "data: 65537 messages is not allowed, it must be 1 to 65536 messages"),
        (65_537 * 31, 31, "data", "data: 65537 messages is not allowed, it must be 1 to 65536 messages"),
    ],
)
async def test_a_batch_out_of_bounds_ends_its_stream_and_no_other(
    length: int, size: int, field: str, allowed: str
) -> None:
    refused = StreamHashesRequest(batch_id=6, data=bytes(length), message_size=size)
    async with hasher() as channel:
        other = HasherServiceStub(channel).StreamHashes()
        await other.write(WHOLE)
        await other.read()

        answered, failure = await until_failure(answers(channel, (WHOLE, refused, WHOLE)))
        assert violation(failure) == (field, allowed)
        assert [answer.batch_id for answer in answered] == [5]

        await other.write(WHOLE)
        after = await other.read()
        assert isinstance(after, StreamHashesResponse)
        assert after.digests == expected(WHOLE)
        await other.done_writing()
        assert await other.code() is grpc.StatusCode.OK


NOT_A_MESSAGE = b"\x0a\xff"


async def test_bytes_that_are_no_message_are_refused_and_the_next_is_served() -> None:
    async with hasher() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await raw_call(channel, f"/{HASHER}/Hash", NOT_A_MESSAGE)
        assert violation(error.value)[0] == "(message)"
        response = await HasherServiceStub(channel).Hash(HashRequest(data=b"x"))
        assert response.digest == sha256(b"x").digest()


async def test_bytes_that_are_no_message_end_their_stream_after_what_came_before() -> None:
    async with hasher() as channel:
        stream = raw_stream(channel, f"/{HASHER}/StreamHashes", WHOLE.SerializeToString(), NOT_A_MESSAGE)
        answered, failure = await until_failure(stream)
        assert violation(failure)[0] == "(message)"
        assert [StreamHashesResponse.FromString(answer).batch_id for answer in answered] == [5]


async def test_a_message_of_another_type_is_refused_for_the_field_it_lacks() -> None:
    message = StreamRandomBytesRequest(batch_id=1, count=1, size=32).SerializeToString()
    async with hasher() as channel:
        _, failure = await until_failure(raw_stream(channel, f"/{HASHER}/StreamHashes", message))
        assert violation(failure)[0] == "data"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await raw_call(channel, f"/{HASHER}/Hash", message)
        assert violation(error.value)[0] == "data"


@pytest.mark.parametrize("method", ["Hash", "StreamHashes"])
async def test_a_message_beyond_what_grpc_takes_ends_its_call_and_no_other(method: str) -> None:
    """It never reaches the service; gRPC itself refuses more than 4 MiB."""
    message = HashRequest(data=bytes(5 * 1024 * 1024)).SerializeToString()
    async with hasher() as channel:
        other = HasherServiceStub(channel).StreamHashes()
        await other.write(WHOLE)
        await other.read()
        _, failure = await until_failure(raw_stream(channel, f"/{HASHER}/{method}", message))
        assert failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await other.write(WHOLE)
        assert isinstance(await other.read(), StreamHashesResponse)
        other.cancel()


@pytest.mark.pair(reason="0.1 s is held to 0.3")
async def test_at_classic_pace_any_number_of_clients_is_served_at_once() -> None:
    loop = asyncio.get_running_loop()
    async with hasher(pace="classic") as channel:
        begin = loop.time()
        await asyncio.gather(*(HasherServiceStub(channel).Hash(HashRequest(data=b"x")) for _ in range(10)))
        seconds = loop.time() - begin
    assert 0.1 - 0.01 <= seconds < 0.1 + 0.2


@pytest.mark.pair(reason="0.5 s are held to 0.65")
async def test_at_classic_pace_the_batches_of_one_stream_take_a_tenth_of_a_second_each() -> None:
    loop = asyncio.get_running_loop()
    async with hasher(pace="classic") as channel:
        begin = loop.time()
        assert len([answer async for answer in answers(channel, [WHOLE] * 5)]) == 5
        seconds = loop.time() - begin
    assert 0.5 - 0.02 <= seconds < 0.5 + 0.15


@pytest.mark.pair(reason="0.6 s are held to 0.8")
async def test_a_concurrency_counts_unary_calls_and_streams_together() -> None:
    loop = asyncio.get_running_loop()
    async with hasher(delay=0.1, concurrency=2) as channel:

        async def stream() -> None:
            async for _ in answers(channel, [WHOLE] * 3):
                pass

        async def calls() -> None:
            for _ in range(3):
                await HasherServiceStub(channel).Hash(HashRequest(data=b"x"))

        begin = loop.time()
        await asyncio.gather(stream(), stream(), calls(), calls())
        seconds = loop.time() - begin
    assert 0.6 - 0.02 <= seconds < 0.6 + 0.2
