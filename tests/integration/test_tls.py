import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest, StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from structlog.testing import capture_logs
from support.certificates import Authority
from support.served import HASHER, RNG, health, served
from support.waiting import until

from chassis import grpc_log, tls
from chassis.health import Health
from chassis.settings import LogFormat
from chassis.telemetry import Telemetry

SERVICES = {"rng": RNG, "hasher": HASHER}

UNARY = {
    "rng": (f"/{RNG}/GetRandomBytes", GetRandomBytesRequest(size=16).SerializeToString()),
    "hasher": (f"/{HASHER}/Hash", HashRequest(data=b"one").SerializeToString()),
}
STREAMS = {
    "rng": (
        f"/{RNG}/StreamRandomBytes",
        StreamRandomBytesRequest(batches=[StreamRandomBytesRequest.Batch(count=1, size=8)]).SerializeToString(),
    ),
    "hasher": (
        f"/{HASHER}/StreamHashes",
        StreamHashesRequest(batches=[StreamHashesRequest.Batch(data=b"one", message_size=3)]).SerializeToString(),
    ),
}

Files = Mapping[str, str]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certs")


def encrypting(name: str, **files: str) -> AbstractAsyncContextManager[int]:
    """Serve rng or hasher with these files, and yield the port."""
    return served(name, None, **{variable.lower(): path for variable, path in files.items()})


def credentials(files: Files) -> grpc.ChannelCredentials:
    pem = [Path(files[name]).read_bytes() if name in files else None for name in ("TLS_CA", "TLS_KEY", "TLS_CERT")]
    return grpc.ssl_channel_credentials(*pem)


def channel(port: int, name: str, files: Files | None) -> grpc.aio.Channel:
    """Return a channel with this certificate, if any, to a server of that name; without files a plain one."""
    target, options = f"127.0.0.1:{port}", (("grpc.default_authority", name),)
    if files is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, credentials(files), options)


async def code_of_call(channel: Any, path: str, request: bytes) -> grpc.StatusCode:
    code: grpc.StatusCode = await channel.unary_unary(path)(request).code()
    return code


async def code_of_stream(channel: Any, path: str, request: bytes) -> grpc.StatusCode:
    """Return the code with which a stream with this request ends.

    gRPC's client takes a request that it can no longer send for an error of its own, INTERNAL, if the server's status
    has not come yet (`_write` in grpc/aio/_call.py); such a stream is opened again.
    """
    code = grpc.StatusCode.INTERNAL
    while code is grpc.StatusCode.INTERNAL:
        streaming = channel.stream_stream(path)(iter([request]))
        with suppress(grpc.aio.AioRpcError):
            async for _ in streaming:
                pass
        code = await streaming.code()
    return code


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("names", ["worker", "someone worker", "operator", "worker.test", "worker@x.org", "127.0.0.1"])
async def test_only_the_worker_may_call_and_any_certificate_may_check_health(
    authority: Authority, name: str, names: str
) -> None:
    files = authority.issue("client", *names.split())
    code = grpc.StatusCode.OK if "worker" in names.split() else grpc.StatusCode.PERMISSION_DENIED
    async with encrypting(name, **authority.issue(name)) as port, channel(port, name, files) as client:
        assert await code_of_call(client, *UNARY[name]) is code
        assert await code_of_stream(client, *STREAMS[name]) is code
        checked = await health(client).Check(HealthCheckRequest(service=SERVICES[name]))
        assert checked.status == HealthCheckResponse.SERVING


async def test_a_refusal_is_counted_and_names_the_caller_and_the_allowed_callers_in_one_short_line(
    authority: Authority,
) -> None:
    telemetry = Telemetry(Health())
    settings = {variable.lower(): path for variable, path in authority.issue("rng").items()}
    files = authority.issue("client", "webui", *(f"{'x' * 60}.{number:03}.test" for number in range(100)))
    with capture_logs() as lines:
        async with served("rng", telemetry, **settings) as port, channel(port, "rng", files) as client:
            method, request = UNARY["rng"]
            call: Any = client.unary_unary(method)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(request)
    details = str(caught.value.details())
    assert details.startswith("GetRandomBytes is for worker; this certificate is of webui, xxx")
    assert len(details) < 350
    labels = {"grpc_type": "unary", "grpc_service": RNG, "grpc_method": "GetRandomBytes"}
    refused = {**labels, "grpc_code": "PERMISSION_DENIED"}
    assert telemetry.metrics.get_sample_value("grpc_server_handled_total", refused) == 1
    [line] = [line for line in lines if "refused" in line["event"] or "ended" in line["event"]]
    assert line["event"] == "caller refused"
    assert (line["method"], line["allowed"]) == ("GetRandomBytes", "worker")
    assert line["names"] in details
    assert line["peer"].startswith("ipv4:127.0.0.1:")


async def test_a_method_without_an_allow_list_is_refused_for_all(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rng_svc.__main__.CALLERS", {"StreamRandomBytes": {"worker"}})
    files = authority.issue("worker")
    async with encrypting("rng", **authority.issue("rng")) as port, channel(port, "rng", files) as client:
        assert await code_of_call(client, *UNARY["rng"]) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_bad_handshake_is_refused_with_the_reason_in_the_log(authority: Authority, tmp_path: Path) -> None:
    trusting = {"TLS_CA": str(authority.file)}
    yesterday = datetime.now(UTC) - timedelta(days=1)
    bad: Mapping[str, Files | None] = {
        "CERTIFICATE_VERIFY_FAILED: certificate has expired": authority.issue("worker", not_after=yesterday),
        "CERTIFICATE_VERIFY_FAILED: self signed certificate": Authority(tmp_path / "self").settings("ca") | trusting,
        "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate": (
            Authority(tmp_path / "another").issue("worker") | trusting
        ),
        "PEER_DID_NOT_RETURN_A_CERTIFICATE": trusting,
        "WRONG_VERSION_NUMBER|HTTP_REQUEST": None,
    }
    with capture_logs() as lines, grpc_log.capture(LogFormat.CONSOLE):
        async with encrypting("rng", **authority.issue("rng")) as port:
            for files in bad.values():
                async with channel(port, "rng", files) as client:
                    assert await code_of_call(client, *UNARY["rng"]) is grpc.StatusCode.UNAVAILABLE
            await until(lambda: all(any(re.match(reason, each.get("reason", "")) for each in lines) for reason in bad))
            async with channel(port, "rng", authority.issue("worker")) as client:
                assert await code_of_call(client, *UNARY["rng"]) is grpc.StatusCode.OK
    assert {each["log_level"] for each in lines if each["event"] == "handshake failed"} == {"warning"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of old versions
async def test_tls_is_1_2_or_1_3(authority: Authority) -> None:
    versions = {ssl.TLSVersion.TLSv1_1: None, ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}
    async with encrypting("rng", **authority.issue("rng")) as port:
        for version, spoken in versions.items():
            assert await asyncio.to_thread(speak, port, authority.issue("worker"), version) == spoken


def speak(port: int, files: Files, version: ssl.TLSVersion) -> str | None:
    """Return the version of the connection of a client that supports only this one; None if it is refused."""
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tls.CHECK_INTERVAL_S <= 30, "renewed files are in use within a minute"
    monkeypatch.setattr(tls, "CHECK_INTERVAL_S", 0.05)
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    workers = {each: each.issue("worker") | {"TLS_CA": str(old.file)} for each in (old, new)}
    file = tmp_path / "trusted.pem"
    file.write_bytes(old.file.read_bytes())
    async with encrypting("rng", **old.issue("rng") | {"TLS_CA": str(file)}) as port:

        async def are_accepted(*expected: Authority) -> bool:
            found = []
            for each, files in workers.items():
                async with channel(port, "rng", files) as client:
                    if await code_of_call(client, *UNARY["rng"]) is grpc.StatusCode.OK:
                        found.append(each)
            return found == list(expected)

        for trusted in ([old], [old, new], [new]):
            file.write_bytes(b"".join(each.file.read_bytes() for each in trusted))
            await until(partial(are_accepted, *trusted))
