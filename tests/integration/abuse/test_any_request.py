"""Any request is answered, or refused with the reason, and others do not notice."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest, StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.served import HASHER, RNG, violation

from .conftest import Ports

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
LIMIT_S = 30.0

few = settings(max_examples=30, database=None, suppress_health_check=list(HealthCheck))

MAX_BYTES = 2 * 1024 * 1024
BOUNDS = (0, 1, 2, 32, 33, 65_535, 65_536, 65_537, MAX_BYTES - 1, MAX_BYTES, MAX_BYTES + 1, 2**31 - 1, 2**31, 2**32 - 1)
INTEGERS = {
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
}
NAMES = ("", "rng", RNG, HASHER, "grpc.health.v1.Health")


def values(field: Any) -> st.SearchStrategy[object]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=200) | st.sampled_from([each for each in BOUNDS if each <= MAX_BYTES + 1]).map(bytes)
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.text(max_size=60) | st.sampled_from(NAMES)
    if field.type in INTEGERS:
        least, most = INTEGERS[field.type]
        bounds = [number for number in (*BOUNDS, least, most) if least <= number <= most]
        return st.sampled_from(bounds) | st.integers(least, most) | st.integers(0, 100)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    return messages(GetMessageClass(field.message_type))


def messages(of: type[Message]) -> st.SearchStrategy[Message]:
    """Messages with values at and beyond every bound."""
    fields = {field.name: values(field) for field in of.DESCRIPTOR.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: of(**given))


def encoded(of: type[Message]) -> st.SearchStrategy[bytes]:
    """Bytes of which most are of the type, some are changed, and some are any."""
    right = messages(of).map(lambda message: message.SerializeToString())
    parts = st.tuples(right, st.integers(0, 200), st.binary(max_size=20))
    return right | right | parts.map(lambda parts: parts[0][: parts[1]] + parts[2]) | st.binary(max_size=100)


def is_valid(of: type[Message], raw: bytes) -> bool:
    try:
        of.FromString(raw)
    except DecodeError:
        return False
    return True


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


@contextmanager
def connected(port: int) -> Iterator[Any]:
    """A channel, beside a call of another client that goes on."""
    own = [("grpc.use_local_subchannel_pool", 1)]
    with (
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        grpc.insecure_channel(f"127.0.0.1:{port}", options=own) as other,
    ):
        watch: Any = other.unary_stream("/grpc.health.v1.Health/Watch")(b"")  # type: ignore[arg-type] # without a serializer
        assert next(watch)
        yield channel
        assert watch.is_active()
        assert send(other, "/grpc.health.v1.Health/Check", [b""]) == (1, None)


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
    ours = path.startswith("/dockercoins")

    @few
    @given(st.lists(encoded(of), min_size=1, max_size=most))
    def each(raws: list[bytes]) -> None:
        count, error = send(channel, path, raws)
        valid = [is_valid(of, raw) for raw in raws]
        assert all(valid[:count])
        if error is None:
            assert count == len(raws)
        elif not ours:
            assert error.code() is (NOT_FOUND if all(valid) else INVALID)
        else:
            fields = of.DESCRIPTOR.fields_by_name if valid[count] else ("(message)",)
            assert violation(error)[0] in fields

    with connected(ports.hasher if HASHER in path else ports.rng) as channel:
        each()


def test_any_other_method_is_unimplemented(ports: Ports) -> None:
    @few
    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60), st.binary(max_size=60))
    def each(path: str, raw: bytes) -> None:
        _, error = send(channel, f"/{path}", [raw])
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED

    with connected(ports.rng) as channel:
        each()


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


@contextmanager
def response(port: int, verb: str, target: str, headers: list[tuple[str, str]], body: bytes) -> Iterator[int | None]:
    """The status of the response; None when the connection was closed without one."""
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
                yield None
            else:
                yield response.status


@pytest.mark.parametrize("port", ["webui", "admin"])
def test_any_http_request_is_answered_or_refused(ports: Ports, port: str) -> None:
    @settings(few, max_examples=150)
    @given(st.sampled_from(VERBS), targets, headers, st.binary(max_size=40))
    def each(verb: str, target: str, headers: list[tuple[str, str]], body: bytes) -> None:
        with response(getattr(ports, port), verb, target, headers, body) as status:
            if status is None:  # nothing is tunnelled here, and what a client sends into its tunnel may come first
                assert verb == "CONNECT"
            else:
                assert 200 <= status < 500

    with response(ports.webui, "GET", "/events", [], b"") as open_before:
        assert open_before == 200
        each()
        with response(getattr(ports, port), "GET", "/readyz", [], b"") as status:
            assert status == 200
