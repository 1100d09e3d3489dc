"""Servers with certificates: who may call what, and certificates and authorities that change while they run."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest, StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from grpc_channelz.v1.channelz_pb2 import GetServersRequest, GetServersResponse
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from support.certificates import Authority
from support.served import HASHER, RNG

import hasher_svc.service
import rng_svc.service
from chassis.grpc_server import server
from chassis.health import Health
from chassis.telemetry.telemetry import Telemetry
from chassis.tls import renewed_certificates
from hasher_svc.digests import DigestThread
from hasher_svc.hashing import fastest
from hasher_svc.settings import HasherSettings
from rng_svc.service import check_source
from rng_svc.settings import RngSettings

SERVICES = {"rng": RNG, "hasher": HASHER}

UNARY: Mapping[str, tuple[str, Any]] = {
    "rng": (f"/{RNG}/GetRandomBytes", GetRandomBytesRequest(size=16)),
    "hasher": (f"/{HASHER}/Hash", HashRequest(data=b"one")),
}
STREAMS: Mapping[str, tuple[str, Any]] = {
    "rng": (f"/{RNG}/StreamRandomBytes", StreamRandomBytesRequest(batch_id=1, count=1, size=8)),
    "hasher": (f"/{HASHER}/StreamHashes", StreamHashesRequest(batch_id=1, data=b"one", message_size=3)),
}

OK, DENIED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certs")


@asynccontextmanager
async def encrypting(name: str, **files: str) -> AsyncIterator[int]:
    """The port of rng or hasher with these files, and with the callers that it allows."""
    settings = {"port": 0, "pace": "full", **{variable.lower(): path for variable, path in files.items()}}
    telemetry = Telemetry(Health())
    async with AsyncExitStack() as stack:
        servicer: Any
        if name == "rng":
            made: Any = RngSettings(**settings)
            servicer, callers = rng_svc.service.RngService("rng-1", made.pacing()), rng_svc.service.CALLERS
        else:
            made = HasherSettings(**settings)
            thread = stack.enter_context(closing(DigestThread(fastest())))
            servicer = hasher_svc.service.HasherService("hasher-1", made.pacing(), thread)
            callers = hasher_svc.service.CALLERS
        serving = server.serve(made, telemetry, SERVICES[name], servicer.add_to, check_source, callers=callers)
        port = await stack.enter_async_context(serving)
        telemetry.health.started()
        yield port


def content(files: Mapping[str, str], variable: str) -> bytes:
    return Path(files[variable]).read_bytes()


@asynccontextmanager
async def channel(port: int, name: str, files: Mapping[str, str]) -> AsyncIterator[Any]:
    """A channel that shows this certificate and expects the server to have that name."""
    authority, key, chain = (content(files, variable) for variable in ("TLS_CA", "TLS_KEY", "TLS_CERT"))
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    options = (("grpc.default_authority", name),)
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as opened:
        yield opened


async def call(channel: Any, path: str, request: Any) -> Any:
    return await channel.unary_unary(path)(request.SerializeToString(), timeout=20)


async def code_of_call(channel: Any, path: str, request: Any) -> grpc.StatusCode:
    try:
        await call(channel, path, request)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return OK


async def code_of_stream(channel: Any, path: str, request: Any) -> grpc.StatusCode:
    """How a stream with this request ends.

    gRPC's client takes a request that it can no longer send for an error of its own, INTERNAL, if the server's status
    has not come yet (`_write` in grpc/aio/_call.py); such a stream is opened again.
    """
    code = grpc.StatusCode.INTERNAL
    while code is grpc.StatusCode.INTERNAL:
        streaming = channel.stream_stream(path)(iter([request.SerializeToString()]), timeout=20)
        try:
            async for _ in streaming:
                pass
            code = OK
        except grpc.aio.AioRpcError as error:
            code = error.code()
    return code


@pytest.mark.parametrize("name", ["rng", "hasher"])
@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("worker",), OK),
        (("someone", "worker"), OK),
        (("webui",), DENIED),
        (("operator",), DENIED),
        (("rng",), DENIED),
        (("worker.test",), DENIED),
        (("worker@example.org",), DENIED),
        (("127.0.0.1",), DENIED),
    ],
)
async def test_only_the_worker_may_call_and_all_with_a_certificate_may_look(
    authority: Authority, name: str, names: tuple[str, ...], code: grpc.StatusCode
) -> None:
    files = authority.issue("client", *names)
    async with encrypting(name, **authority.issue(name)) as port, channel(port, name, files) as client:
        assert await code_of_call(client, *UNARY[name]) is code
        assert await code_of_stream(client, *STREAMS[name]) is code
        checked = await call(client, "/grpc.health.v1.Health/Check", HealthCheckRequest(service=SERVICES[name]))
        assert HealthCheckResponse.FromString(checked).status == HealthCheckResponse.SERVING
        servers = await call(client, "/grpc.channelz.v1.Channelz/GetServers", GetServersRequest())
        assert GetServersResponse.FromString(servers).server
        for version in ("v1", "v1alpha"):
            path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            assert await code_of_stream(client, path, ServerReflectionRequest(list_services="")) is OK


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("webui",), "webui"),
        (tuple(f"{'x' * 60}.{number:03}.test" for number in range(100)), "x" * 60),
    ],
    ids=["one", "a hundred"],
)
async def test_a_refusal_says_who_calls_and_who_may_and_stays_short(
    authority: Authority, names: tuple[str, ...], shown: str
) -> None:
    files = authority.issue("client", *names)
    async with encrypting("rng", **authority.issue("rng")) as port, channel(port, "rng", files) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(client, *UNARY["rng"])
    details = str(caught.value.details())
    assert details.startswith(f"GetRandomBytes is for worker; this certificate is of {shown}")
    assert len(details) < 350


@pytest.mark.parametrize(
    ("version", "spoken"),
    [
        (ssl.TLSVersion.TLSv1_1, None),
        (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of old versions
async def test_tls_is_1_2_or_1_3(authority: Authority, version: ssl.TLSVersion, spoken: str | None) -> None:
    async with encrypting("rng", **authority.issue("rng")) as port:
        assert await asyncio.to_thread(speak, port, authority.issue("worker"), version) == spoken


def speak(port: int, files: Mapping[str, str], version: ssl.TLSVersion) -> str | None:
    """The version of a connection of a client that knows only this one; None if it is refused."""
    context = ssl.create_default_context(cafile=files["TLS_CA"])
    context.load_cert_chain(files["TLS_CERT"], files["TLS_KEY"])
    context.set_ciphers("ALL:@SECLEVEL=0")  # else OpenSSL itself refuses what is old
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 20) as connection,
            context.wrap_socket(connection, server_hostname="rng") as encrypted,
        ):
            assert encrypted.recv(1)  # the server's settings: it has verified the client
            return encrypted.version()
    except ssl.SSLError:
        return None


async def test_a_new_authority_is_trusted_beside_the_old_one_and_then_instead(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert renewed_certificates.LOOK_INTERVAL <= 30, "renewed files are in use within a minute"
    monkeypatch.setattr(renewed_certificates, "LOOK_INTERVAL", 0.05)
    new = Authority(tmp_path / "new")
    workers = {each: each.issue("worker") | {"TLS_CA": str(authority.file)} for each in (authority, new)}
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    async with encrypting("rng", **authority.issue("rng") | {"TLS_CA": str(trusted)}) as port:

        async def trusted_are(*expected: Authority) -> None:
            """Wait until exactly these are."""
            found: set[Authority] | None = None
            async with asyncio.timeout(30):
                while found != set(expected):
                    found = set()
                    for each, files in workers.items():
                        async with channel(port, "rng", files) as client:
                            if await code_of_call(client, *UNARY["rng"]) is OK:
                                found.add(each)

        await trusted_are(authority)
        trusted.write_bytes(authority.file.read_bytes() + new.file.read_bytes())
        await trusted_are(authority, new)
        trusted.write_bytes(new.file.read_bytes())
        await trusted_are(new)


async def test_a_renewed_certificate_is_shown_once_its_key_fits(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewed_certificates, "LOOK_INTERVAL", 0.05)
    async with encrypting("rng", **authority.issue("rng")) as port:

        async def shown() -> str:
            return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=20)

        before = await shown()
        authority.issue("rng", half=True)
        await asyncio.sleep(0.3)
        assert await shown() == before
        authority.issue("rng")
        renewed = (authority.folder / "rng.pem").read_text()
        async with asyncio.timeout(30):
            while await shown() not in renewed:
                pass
