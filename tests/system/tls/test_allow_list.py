"""Who may call what, by the names in certificates."""

import socket
import ssl
from collections.abc import Mapping

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest, StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from support.certificates import Authority
from support.served import HASHER, RNG
from support.service_process import ServiceProcess, ServiceProcesses
from system.tls.clients import call, connected, grpcurl, log_lines

SERVICES = {"rng": RNG, "hasher": HASHER}

UNARY = {
    "rng": (f"/{RNG}/GetRandomBytes", GetRandomBytesRequest(size=16).SerializeToString()),
    "hasher": (f"/{HASHER}/Hash", HashRequest(data=b"one").SerializeToString()),
}
STREAMS = {
    "rng": (f"/{RNG}/StreamRandomBytes", StreamRandomBytesRequest(batch_id=1, count=1, size=8).SerializeToString()),
    "hasher": (
        f"/{HASHER}/StreamHashes",
        StreamHashesRequest(batch_id=1, data=b"one", message_size=3).SerializeToString(),
    ),
}

LIST_SERVICES = ServerReflectionRequest(list_services="").SerializeToString()


@pytest.fixture(params=["rng", "hasher"])
def server(request: pytest.FixtureRequest, processes: ServiceProcesses, authority: Authority) -> ServiceProcess:
    name = str(request.param)
    return processes.start(name, INSTANCE=name, PACE="full", LOG_FORMAT="json", **authority.issue(name))


async def stream(channel: grpc.aio.Channel, path: str, request: bytes) -> grpc.StatusCode:
    """How a stream ends on which so much is asked.

    gRPC's client takes a request that it can't send any more for an error of its own, INTERNAL, if the server's word
    has not come yet (`_write` in grpc/aio/_call.py); so that is asked again.
    """
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
    code = grpc.StatusCode.INTERNAL
    attempts = 5
    while code is grpc.StatusCode.INTERNAL and attempts:
        attempts -= 1
        streaming = method(iter([request]), timeout=10)
        try:
            async for _ in streaming:
                pass
            code = grpc.StatusCode.OK
        except grpc.aio.AioRpcError as error:
            code = error.code()
    return code


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("worker",), grpc.StatusCode.OK),
        (("someone", "worker"), grpc.StatusCode.OK),
        (("webui",), grpc.StatusCode.PERMISSION_DENIED),
        (("operator",), grpc.StatusCode.PERMISSION_DENIED),
        (("rng",), grpc.StatusCode.PERMISSION_DENIED),
        (("worker.test",), grpc.StatusCode.PERMISSION_DENIED),
        (("worker@example.org",), grpc.StatusCode.PERMISSION_DENIED),
        (("127.0.0.1",), grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_the_methods_of_a_service_are_for_the_worker(
    server: ServiceProcess, authority: Authority, names: tuple[str, ...], code: grpc.StatusCode
) -> None:
    async with connected(server, authority.issue("client", *names), server.instance) as channel:
        answer = await call(channel, *UNARY[server.instance])
        assert (answer.code() if isinstance(answer, grpc.aio.AioRpcError) else grpc.StatusCode.OK) is code
        assert await stream(channel, *STREAMS[server.instance]) is code
        health = HealthCheckRequest(service=SERVICES[server.instance]).SerializeToString()
        checked = await call(channel, "/grpc.health.v1.Health/Check", health)
        for version in ("v1", "v1alpha"):
            path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            assert await stream(channel, path, LIST_SERVICES) is grpc.StatusCode.OK
    assert isinstance(checked, bytes)
    assert HealthCheckResponse.FromString(checked).status == HealthCheckResponse.SERVING


def test_people_with_a_certificate_may_look_but_not_call(server: ServiceProcess, authority: Authority) -> None:
    operator = authority.issue("operator")
    assert SERVICES[server.instance] in grpcurl(server, operator, server.instance, "list").stdout
    health = grpcurl(server, operator, server.instance, "grpc.health.v1.Health/Check")
    assert "SERVING" in health.stdout, health.stderr
    assert "server" in grpcurl(server, operator, server.instance, "grpc.channelz.v1.Channelz/GetServers").stdout
    path, _ = UNARY[server.instance]
    refused = grpcurl(server, operator, server.instance, path[1:])
    assert "Code: PermissionDenied" in refused.stderr
    assert "is for worker; this certificate is of operator" in refused.stderr


async def test_a_certificate_full_of_names_makes_a_short_line(server: ServiceProcess, authority: Authority) -> None:
    many = authority.issue("client", *(f"{'x' * 60}.{number:03}.test" for number in range(100)))
    async with connected(server, many, server.instance) as channel:
        await call(channel, *UNARY[server.instance])
    server.wait_for("caller refused")
    [line] = log_lines(server, "caller refused")
    assert len(str(line["names"])) < 300


@pytest.mark.parametrize(
    ("version", "welcome"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of old versions
def test_tls_is_1_2_or_1_3(
    server: ServiceProcess, authority: Authority, version: ssl.TLSVersion, *, welcome: bool
) -> None:
    spoken = speak(server, authority.issue("worker"), version)
    assert spoken == (version.name.replace("_", ".") if welcome else None)
    if not welcome:
        server.wait_for("handshake failed")
        [line] = log_lines(server, "handshake failed")
        assert line["reason"] == "UNSUPPORTED_PROTOCOL"


def speak(server: ServiceProcess, settings: Mapping[str, str], version: ssl.TLSVersion) -> str | None:
    """The version that a client has that can do only this one, if it is let in."""
    context = ssl.create_default_context(cafile=settings["TLS_CA"])
    context.load_cert_chain(settings["TLS_CERT"], settings["TLS_KEY"])
    context.set_ciphers("ALL:@SECLEVEL=0")  # else OpenSSL itself refuses what is old
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    try:
        with (
            socket.create_connection(("127.0.0.1", server.port), 5) as connection,
            context.wrap_socket(connection, server_hostname=server.instance) as encrypted,
        ):
            assert encrypted.recv(1)  # the server's settings: it has verified the client
            return encrypted.version()
    except ssl.SSLError:
        return None
