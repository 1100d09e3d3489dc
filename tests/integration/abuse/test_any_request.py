import contextlib
import http.client
import socket
import struct
from collections.abc import Collection
from contextlib import closing
from typing import Any

import grpc
import hpack
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest, StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.admin_endpoint import http_get
from support.raw_h2 import CALL, PREFACE
from support.served import HASHER, RNG, violation

from chassis.large_fields import encode_varint

from .conftest import Ports

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
LIMIT_S = 30.0

few = settings(max_examples=30, database=None, suppress_health_check=list(HealthCheck))

BOUNDS = (32, 33, 65_536, 65_537, 2**21, 2**21 + 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
NAMES = (b"rng", RNG.encode(), HASHER.encode(), b"grpc.health.v1.Health")
numbers = st.integers(0, 100) | st.sampled_from(BOUNDS)
payloads = st.binary(max_size=200) | st.sampled_from(NAMES)


def field(parts: tuple[int, int | bytes]) -> bytes:
    """A field as protobuf encodes it."""
    number, value = parts
    if isinstance(value, int):
        return encode_varint(number << 3) + encode_varint(value)
    return encode_varint(number << 3 | 2) + encode_varint(len(value)) + value


def encoded(of: type[Message]) -> st.SearchStrategy[bytes]:
    """Bytes of which most are of the type, some are changed, and some are any."""
    if "batches" in of.DESCRIPTOR.fields_by_name:
        batch = encoded(of.Batch)  # type: ignore[attr-defined] # of both streams
        batches = st.lists(batch.map(lambda each: field((1, each))), max_size=3).map(b"".join)
        return batches | batches | st.binary(max_size=20)
    lengthy = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE)
    values = {each.number: payloads if each.type in lengthy else numbers for each in of.DESCRIPTOR.fields}
    fields = st.one_of(*(st.tuples(st.just(number), value) for number, value in values.items()))
    right = st.lists(fields.map(field), max_size=5).map(b"".join)
    parts = st.tuples(right, st.integers(0, 200), st.binary(max_size=20))
    return right | right | parts.map(lambda parts: parts[0][: parts[1]] + parts[2])


def is_valid(of: type[Message], raw: bytes) -> bool:
    try:
        of.FromString(raw)
    except DecodeError:
        return False
    return True


def paths(of: type[Message]) -> Collection[str]:
    """The fields for which a request of the type may be refused, by path."""
    fields = of.DESCRIPTOR.fields_by_name
    if "batches" not in fields:
        return fields.keys()
    inner = of.Batch.DESCRIPTOR.fields_by_name  # type: ignore[attr-defined] # of both streams
    return {"batches", *(f"batches[{index}].{name}" for index in range(64) for name in inner)}


def send(channel: Any, path: str, raws: list[bytes]) -> tuple[int, Any]:
    """Return how many responses came, and the error that ended the call. A watch ends with its first response."""
    call = channel.stream_stream(path)(iter(raws), timeout=LIMIT_S)
    count = 0
    try:
        for _ in call:
            count += 1
            if path.endswith("/Watch"):
                call.cancel()
                break
    except grpc.RpcError as error:
        return count, error
    return count, None


CHANNELZ = ("TopChannels", "Servers", "Server", "ServerSockets", "Channel", "Subchannel", "Socket")
METHODS: list[tuple[str, type[Message], int]] = [
    (f"/{RNG}/GetRandomBytes", GetRandomBytesRequest, 1),
    (f"/{RNG}/StreamRandomBytes", StreamRandomBytesRequest, 3),
    (f"/{HASHER}/Hash", HashRequest, 1),
    (f"/{HASHER}/StreamHashes", StreamHashesRequest, 3),
    ("/grpc.health.v1.Health/Check", HealthCheckRequest, 1),
    ("/grpc.health.v1.Health/Watch", HealthCheckRequest, 1),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", ServerReflectionRequest, 3),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", ServerReflectionRequest, 3),
    *((f"/grpc.channelz.v1.Channelz/Get{name}", getattr(channelz_pb2, f"Get{name}Request"), 1) for name in CHANNELZ),
]


@pytest.mark.parametrize(("path", "of", "most"), METHODS, ids=[path for path, _, _ in METHODS])
def test_requests_are_answered_up_to_the_one_that_is_refused(
    ports: Ports, path: str, of: type[Message], most: int
) -> None:
    @few
    @given(st.lists(encoded(of), min_size=1, max_size=most))
    def each(raws: list[bytes]) -> None:
        count, error = send(channel, path, raws)
        valid = [is_valid(of, raw) for raw in raws]
        assert all(valid[:count])
        if error is None:
            assert count == len(raws)
        elif path.startswith("/dockercoins"):
            assert violation(error)[0] in (paths(of) if valid[count] else ("(message)",))
        else:
            assert error.code() is (NOT_FOUND if all(valid) else INVALID)

    with grpc.insecure_channel(f"127.0.0.1:{ports.hasher if HASHER in path else ports.rng}") as channel:
        each()


begun = PREFACE + SettingsFrame(0).serialize()
get = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
# Frames of HTTP/2 (RFC 9113, 4.1) of any type, with lengths that are right, wrong or not allowed.
frames = st.builds(
    lambda length, head, stream, payload: length.to_bytes(3) + head + stream.to_bytes(4) + payload,
    st.sampled_from((0, 1, 100, 16_384, 16_385, 2**24 - 1)),
    st.binary(min_size=2, max_size=2),
    st.sampled_from((0, 1, 2**31 - 1)),
    st.binary(max_size=200),
)


def call_with(path: str, flag: int, length: int, payload: bytes) -> bytes:
    """A call whose message has a wrong length, or is not compressed as its flag says."""
    headers = hpack.Encoder().encode({**CALL, ":path": path})
    opening = HeadersFrame(1, headers, flags=["END_HEADERS"])
    return begun + opening.serialize() + DataFrame(1, struct.pack(">BI", flag, length) + payload).serialize()


garbage = st.one_of(
    st.binary(max_size=1_000),
    st.tuples(st.sampled_from((begun, get)), st.integers(1, 36)).map(lambda cut: cut[0][: cut[1]]),
    st.lists(frames | st.binary(max_size=1_000), max_size=3).map(lambda sent: begun + b"".join(sent)),
    st.builds(
        call_with,
        st.sampled_from([f"/{RNG}/StreamRandomBytes", f"/{HASHER}/Hash"]),
        st.sampled_from((0, 1, 255)),
        st.integers(0, 100) | st.sampled_from((2**22 + 1, 2**32 - 1)),
        st.binary(max_size=100),
    ),
)


@pytest.mark.parametrize("name", ["rng", "hasher", "webui", "admin"])
def test_any_bytes_do_no_harm(ports: Ports, name: str) -> None:
    port = getattr(ports, name)

    @settings(few, max_examples=100)
    @given(garbage, st.booleans())
    def each(sent: bytes, reset: bool) -> None:  # noqa: FBT001 - a parameter of the test
        with closing(socket.create_connection(("127.0.0.1", port), LIMIT_S)) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(sent)
            if reset:  # it ends like a connection to a machine that is gone
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    each()
    if name in {"rng", "hasher"}:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert send(channel, "/grpc.health.v1.Health/Check", [b""]) == (1, None)
    else:
        assert http_get(port, "/readyz") == (200, "ready\n")


PATHS = (
    *("/", "/json", "/api/history", "/api/history?seconds=60", "/api/history?seconds=900&by=worker", "/api/load-tests"),
    *("/events", "/static/page.js", "/static/../app.py", "/static/%2e%2e/app.py", "/static/%00", "/static//etc/passwd"),
    *("/healthz", "/readyz", "/metrics", "//", "/?", "*", "http://x/json"),
)
VERBS = ("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "X")
HEADERS = (
    *("Accept", "Accept-Encoding", "Last-Event-ID", "If-None-Match", "If-Modified-Since", "Range", "Cookie", "Host"),
    *("Connection", "Upgrade", "Expect", "Content-Length", "Transfer-Encoding", "traceparent", "Authorization"),
)
VALUES = (
    *("", "*", "gzip;q=x", "identity", "-1", "99999999999999999999", "bytes=9-1", "close", "keep-alive, Upgrade"),
    *("websocket", "100-continue", "chunked", "application/openmetrics-text", "0000000000000000-1", "Bearer x", "é"),
    *("Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Jan 0000 00:00:00 GMT", '"x", W/"y", *', "[::1]:1"),
)

# Latin-1 without what ends a line.
printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=40)

targets = st.one_of(
    st.sampled_from(PATHS),
    printable.map(lambda rest: f"/{rest}"),
    printable.map(lambda rest: f"/static/{rest}"),
    st.tuples(st.sampled_from(PATHS), printable).map("?".join),
    printable.map(lambda value: f"/api/history?seconds={value}"),
)
# aiohttp repeats an Expect header in its answer and fails where it is no UTF-8, which closes that connection only.
headers = st.lists(
    st.tuples(st.sampled_from(HEADERS), st.sampled_from(VALUES) | printable).filter(
        lambda header: header[0] != "Expect" or header[1].isascii()
    ),
    max_size=5,
)


def status_of(port: int, verb: str, target: str, headers: list[tuple[str, str]], body: bytes) -> int | None:
    """Return the status of the response; None when the connection was closed without one."""
    names = {name.lower() for name, _ in headers}
    if "host" not in names:
        headers = [("Host", f"127.0.0.1:{port}"), *headers]
    if body and not names & {"content-length", "transfer-encoding"}:
        headers = [*headers, ("Content-Length", str(len(body)))]
    lines = [f"{verb} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    with closing(socket.create_connection(("127.0.0.1", port), LIMIT_S)) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1") + body)
        with closing(http.client.HTTPResponse(connection, method=verb)) as response:
            try:
                response.begin()
            except (http.client.BadStatusLine, ConnectionError):
                return None
            return response.status


@pytest.mark.parametrize("name", ["webui", "admin"])
def test_any_http_request_is_answered_or_refused(ports: Ports, name: str) -> None:
    @settings(few, max_examples=150)
    @given(st.sampled_from(VERBS), targets, headers, st.binary(max_size=40))
    def each(verb: str, target: str, headers: list[tuple[str, str]], body: bytes) -> None:
        status = status_of(getattr(ports, name), verb, target, headers, body)
        if status is None:  # nothing is tunnelled here, and what a client sends into its tunnel may come first
            assert verb == "CONNECT"
        else:
            assert 200 <= status < 500

    each()
    assert http_get(getattr(ports, name), "/readyz") == (200, "ready\n")
