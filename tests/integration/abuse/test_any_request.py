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

OK, INVALID = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT
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


def send(channel: Any, path: str, raws: list[bytes], most: int = 100) -> tuple[int, grpc.StatusCode, Any]:
    """Return how many responses came, how the call ended, and its error."""
    call = channel.stream_stream(path)(iter(raws), timeout=LIMIT_S)
    count = 0
    try:
        for count, _ in enumerate(call, 1):
            if count == most:
                call.cancel()
                return count, OK, None
    except grpc.RpcError as error:
        failed: Any = error
        return count, failed.code(), failed
    return count, OK, None


@pytest.fixture(params=["rng", "hasher"])
def channel(request: pytest.FixtureRequest, ports: Ports) -> Iterator[Any]:
    """A channel, beside a stream of another client that goes on."""
    target = f"127.0.0.1:{getattr(ports, request.param)}"
    own = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target) as channel, grpc.insecure_channel(target, options=own) as other:
        watch: Any = other.unary_stream("/grpc.health.v1.Health/Watch")(b"")  # type: ignore[arg-type] # without a serializer
        assert next(watch)
        yield channel
        assert watch.is_active()
        assert send(other, "/grpc.health.v1.Health/Check", [b""])[1] is OK


METHODS: list[tuple[str, str, type[Message], int]] = [
    ("rng", f"/{RNG}/GetRandomBytes", GetRandomBytesRequest, 1),
    ("rng", f"/{RNG}/StreamRandomBytes", StreamRandomBytesRequest, 3),
    ("hasher", f"/{HASHER}/Hash", HashRequest, 1),
    ("hasher", f"/{HASHER}/StreamHashes", StreamHashesRequest, 3),
]


@pytest.mark.parametrize(
    ("channel", "path", "of", "most"), METHODS, indirect=["channel"], ids=[path for _, path, _, _ in METHODS]
)
def test_requests_are_answered_up_to_the_one_that_is_refused(
    channel: Any, path: str, of: type[Message], most: int
) -> None:
    @few
    @given(st.lists(encoded(of), min_size=1, max_size=most))
    def each(raws: list[bytes]) -> None:
        count, code, error = send(channel, path, raws)
        valid = [is_valid(of, raw) for raw in raws]
        assert all(valid[:count])
        if code is OK:
            assert count == len(raws)
        else:
            fields = of.DESCRIPTOR.fields_by_name if valid[count] else ("(message)",)
            assert violation(error)[0] in fields

    each()


def test_health_is_answered_whatever_is_sent(channel: Any) -> None:
    @few
    @given(encoded(HealthCheckRequest))
    def each(raw: bytes) -> None:
        count, code, error = send(channel, "/grpc.health.v1.Health/Watch", [raw], most=1)
        assert (count, code) == ((1, OK) if is_valid(HealthCheckRequest, raw) else (0, INVALID)), error
        _, code, error = send(channel, "/grpc.health.v1.Health/Check", [raw])
        assert code in {OK, grpc.StatusCode.NOT_FOUND, INVALID}, error

    each()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_is_answered_whatever_is_sent(channel: Any, version: str) -> None:
    @few
    @given(st.lists(encoded(ServerReflectionRequest), max_size=3))
    def each(raws: list[bytes]) -> None:
        valid = [is_valid(ServerReflectionRequest, raw) for raw in raws]
        expected = (len(raws), OK) if all(valid) else (valid.index(False), INVALID)
        path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        assert send(channel, path, raws)[:2] == expected

    each()


CHANNELZ = [f"Get{name}" for name in ("TopChannels", "Servers", "Server", "ServerSockets", "Channel", "Subchannel")]


@pytest.mark.parametrize("channel", ["rng"], indirect=True)
@pytest.mark.parametrize("name", [*CHANNELZ, "GetSocket"])
def test_channelz_is_answered_whatever_is_sent(channel: Any, name: str) -> None:
    @few
    @given(encoded(getattr(channelz_pb2, f"{name}Request")))
    def each(raw: bytes) -> None:
        _, code, error = send(channel, f"/grpc.channelz.v1.Channelz/{name}", [raw])
        assert code in {OK, grpc.StatusCode.NOT_FOUND, INVALID}, error

    each()


def test_any_other_method_is_unimplemented(channel: Any) -> None:
    @few
    @given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60), st.binary(max_size=60))
    def each(path: str, raw: bytes) -> None:
        assert send(channel, f"/{path}", [raw])[1] is grpc.StatusCode.UNIMPLEMENTED

    each()


PATHS = (
    *("/", "/json", "/api/history", "/api/history?seconds=60", "/api/history?seconds=900&by=worker", "/api/load-tests"),
    *("/events", "/static/page.js", "/static/vendor/uplot/uPlot.esm.js", "/static/../app.py", "/static/%2e%2e/app.py"),
    *("/static/%00", "/static//etc/passwd", "/healthz", "/readyz", "/metrics", "//", "/?", "*", "http://x/json"),
)
VERBS = ("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "X")
HEADERS = (
    *("Accept", "Accept-Encoding", "Last-Event-ID", "If-None-Match", "If-Modified-Since", "Range", "Cookie", "Origin"),
    *("Host", "Connection", "Upgrade", "Expect", "Content-Length", "Transfer-Encoding", "Content-Type", "traceparent"),
    *("X-Forwarded-For", "Authorization", "Content-Encoding", "Sec-Fetch-Site"),
)
VALUES = (
    *("", "*", "gzip", "gzip;q=0", "gzip;q=x", "identity", "0", "-1", "99999999999999999999", "bytes=0-1", "bytes=9-1"),
    *("close", "keep-alive, Upgrade", "websocket", "100-continue", "chunked", "application/openmetrics-text", "*/*"),
    *("0000000000000000-1", "text/event-stream", "00-00000000000000000000000000000001-0000000000000001-01", "Bearer x"),
    *("Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 99 Jan 0000 00:00:00 GMT", '"x", W/"y", *', "localhost", "[::1]:1", "é"),
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
