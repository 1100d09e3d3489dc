"""Whatever a method is asked, it answers, or says that the request is bad and why, and nobody else notices."""

import asyncio
import queue
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import (
    HashRequest,
    HashResponse,
    StreamHashesRequest,
    StreamHashesResponse,
)
from dockercoins.rng.v1.rng_service_pb2 import (
    GetRandomBytesRequest,
    GetRandomBytesResponse,
    StreamRandomBytesRequest,
    StreamRandomBytesResponse,
)
from google.protobuf.message import DecodeError, Message
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.served import HASHER, RNG, violation
from support.service_process import ServiceProcess, service_processes
from support.unharmed import unharmed
from system.abuse.any_message import MAX_BYTES, encoded

MAX_COUNT = 65_536
TIMEOUT = 10.0
"""Seconds in which a call ends."""

EXAMPLES = 100

OK, INVALID = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT

Check = Callable[[Any, bytes], bool]
"""Whether a request is within bounds, and its answer right; called with no answer it says the first alone."""


def quick(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def piece(request: GetRandomBytesRequest, raw: bytes | None) -> bool:
    if raw is not None:
        assert len(GetRandomBytesResponse.FromString(raw).data) == request.size
    return 1 <= request.size <= MAX_BYTES


def random_batch(request: StreamRandomBytesRequest, raw: bytes | None) -> bool:
    if raw is not None:
        answer = StreamRandomBytesResponse.FromString(raw)
        assert (answer.batch_id, len(answer.data)) == (request.batch_id, request.count * request.size)
    return 1 <= request.count <= MAX_COUNT and 1 <= request.count * request.size <= MAX_BYTES


def digest(request: HashRequest, raw: bytes | None) -> bool:
    if raw is not None:
        assert HashResponse.FromString(raw).digest == sha256(request.data).digest()
    return 1 <= len(request.data) <= MAX_BYTES


def hashed_batch(request: StreamHashesRequest, raw: bytes | None) -> bool:
    length, size = len(request.data), request.message_size
    if raw is not None:
        answer = StreamHashesResponse.FromString(raw)
        assert answer.batch_id == request.batch_id
        assert answer.digests[:32] == sha256(request.data[:size]).digest()
        assert len(answer.digests) == 32 * (length // size)
    return 1 <= length <= MAX_BYTES and 1 <= size <= MAX_BYTES and length % size == 0 and length <= MAX_COUNT * size


UNARY: dict[str, list[tuple[str, type[Message], Any]]] = {
    "rng": [(f"/{RNG}/GetRandomBytes", GetRandomBytesRequest, piece)],
    "hasher": [(f"/{HASHER}/Hash", HashRequest, digest)],
}
STREAMS: dict[str, list[tuple[str, type[Message], Any]]] = {
    "rng": [(f"/{RNG}/StreamRandomBytes", StreamRandomBytesRequest, random_batch)],
    "hasher": [(f"/{HASHER}/StreamHashes", StreamHashesRequest, hashed_batch)],
}
CHANNELZ = {
    name: getattr(channelz_pb2, f"{name}Request")
    for name in (
        "GetTopChannels", "GetServers", "GetServer", "GetServerSockets", "GetChannel", "GetSubchannel", "GetSocket",
    )
}  # fmt: skip


class Polite:
    """A stream that goes on, whatever others do."""

    def __init__(self, channel: Any, service: str) -> None:
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        path, self._type, _ = STREAMS[service][0]
        self._call = channel.stream_stream(path)(iter(self._requests.get, None))
        self._fields = {"count": 1, "size": 32} if service == "rng" else {"data": bytes(32), "message_size": 32}
        self._asked = 0

    def ask(self) -> None:
        self._asked += 1
        self._requests.put(self._type(batch_id=self._asked, **self._fields).SerializeToString())
        assert StreamRandomBytesResponse.FromString(next(self._call)).batch_id == self._asked

    def end(self) -> None:
        self._requests.put(None)
        assert list(self._call) == []
        assert self._call.code() is OK


@pytest.fixture(scope="module", params=["rng", "hasher"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, ServiceProcess]]:
    folder: Path = tmp_path_factory.mktemp("servers")
    # What it keeps in memory is asked here, and coverage keeps much.
    with service_processes(folder) as processes:
        process = processes.start(request.param, PACE="full")
        process.wait_until_started()
        yield request.param, process


async def bear(server: tuple[str, ServiceProcess], made: Callable[[Any, int], None]) -> None:
    """Make requests, after some others of the kind; the server is unharmed, and so is a stream that was open."""
    service, process = server
    with (
        grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel,
        grpc.insecure_channel(f"127.0.0.1:{process.port}", options=[("grpc.use_local_subchannel_pool", 1)]) as other,
    ):
        said = len(process.text)
        # As many, for what a stream that was cut held is free only when Python looks for it.
        await asyncio.to_thread(made, channel, EXAMPLES)
        polite = Polite(other, service)
        polite.ask()
        async with unharmed(process.popen.pid, f"http://127.0.0.1:{process.metrics_port}/readyz"):
            await asyncio.to_thread(made, channel, EXAMPLES)
            polite.ask()
        polite.end()
    assert "Traceback" not in process.text[said:], process.text[said:][-4_000:]


def ended(call: Any) -> tuple[list[bytes], grpc.StatusCode, Any]:
    """What a call answered, how it ended, and the error if it is one."""
    answers: list[bytes] = []
    try:
        for answer in call:
            answers.append(answer)  # noqa: PERF402 - a comprehension would lose what came before the failure
    except grpc.RpcError as error:
        failed: Any = error
        return answers, failed.code(), failed
    return answers, OK, None


def decoded(of: type[Message], raw: bytes) -> Message | None:
    try:
        return of.FromString(raw)
    except DecodeError:
        return None


def check_refusal(error: Any, of: type[Message], *, understood: bool) -> None:
    field, _ = violation(error)
    assert field in (of.DESCRIPTOR.fields_by_name if understood else ("(message)",))


async def test_one_request_is_answered_or_blamed(server: tuple[str, ServiceProcess]) -> None:
    [(path, of, check)] = UNARY[server[0]]

    def made(channel: Any, examples: int) -> None:
        ask = channel.unary_unary(path)

        @quick(examples)
        @given(encoded(of))
        def each(raw: bytes) -> None:
            request = decoded(of, raw)
            try:
                answer = ask(raw, timeout=TIMEOUT)
            except grpc.RpcError as error:
                assert request is None or not check(request, None)
                check_refusal(error, of, understood=request is not None)
            else:
                assert check(request, answer)

        each()

    await bear(server, made)


async def test_a_stream_is_answered_up_to_the_request_that_is_blamed(server: tuple[str, ServiceProcess]) -> None:
    [(path, of, check)] = STREAMS[server[0]]

    def made(channel: Any, examples: int) -> None:
        ask = channel.stream_stream(path)

        @quick(examples)
        @given(st.lists(encoded(of), max_size=3))
        def each(raws: list[bytes]) -> None:
            answers, code, error = ended(ask(iter(raws), timeout=TIMEOUT))
            requests = [decoded(of, raw) for raw in raws]
            for request, answer in zip(requests, answers, strict=False):
                assert check(request, answer)
            if code is OK:
                assert len(answers) == len(requests)
                return
            blamed = requests[len(answers)]
            assert blamed is None or not check(blamed, None)
            check_refusal(error, of, understood=blamed is not None)

        each()

    await bear(server, made)


async def test_health_is_answered_whatever_is_asked(server: tuple[str, ServiceProcess]) -> None:
    def made(channel: Any, examples: int) -> None:
        @quick(examples)
        @given(encoded(HealthCheckRequest))
        def each(raw: bytes) -> None:
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(raw, timeout=TIMEOUT)
            if decoded(HealthCheckRequest, raw) is None:
                check_refusal(ended(watch)[2], HealthCheckRequest, understood=False)
            else:
                next(watch)
                watch.cancel()
            _, code, _ = ended(channel.unary_stream("/grpc.health.v1.Health/Check")(raw, timeout=TIMEOUT))
            assert code in {OK, grpc.StatusCode.NOT_FOUND, INVALID}

        each()

    await bear(server, made)


async def test_reflection_is_answered_whatever_is_asked(server: tuple[str, ServiceProcess]) -> None:
    def made(channel: Any, examples: int) -> None:
        ask = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")

        @quick(examples)
        @given(st.lists(encoded(ServerReflectionRequest), max_size=3))
        def each(raws: list[bytes]) -> None:
            answers, code, _ = ended(ask(iter(raws), timeout=TIMEOUT))
            wrong = [number for number, raw in enumerate(raws) if decoded(ServerReflectionRequest, raw) is None]
            assert (len(answers), code) == ((wrong[0], INVALID) if wrong else (len(raws), OK))

        each()

    await bear(server, made)


async def test_channelz_is_answered_whatever_is_asked(server: tuple[str, ServiceProcess]) -> None:
    def made(channel: Any, examples: int) -> None:
        @quick(examples)
        @given(
            st.sampled_from(sorted(CHANNELZ)).flatmap(lambda name: st.tuples(st.just(name), encoded(CHANNELZ[name])))
        )
        def each(asked: tuple[str, bytes]) -> None:
            name, raw = asked
            _, code, error = ended(channel.unary_stream(f"/grpc.channelz.v1.Channelz/{name}")(raw, timeout=TIMEOUT))
            assert code in {OK, grpc.StatusCode.NOT_FOUND, INVALID}, error

        each()

    await bear(server, made)


async def test_what_is_no_method_is_unimplemented(server: tuple[str, ServiceProcess]) -> None:
    def made(channel: Any, examples: int) -> None:
        @quick(examples)
        @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60), st.binary(max_size=60))
        def each(path: str, raw: bytes) -> None:
            _, code, error = ended(channel.unary_stream(f"/{path}")(raw, timeout=TIMEOUT))
            assert code is grpc.StatusCode.UNIMPLEMENTED, error

        each()

    await bear(server, made)
