"""Whoever has no certificate of the authority's is refused when shaking hands, and the server's log says why."""

import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import psutil
import pytest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, GetRandomBytesResponse
from support.certificates import Authority
from support.served import RNG
from support.service_process import ServiceProcess, ServiceProcesses
from system.tls.clients import call, connected, log_lines

REQUEST = GetRandomBytesRequest(size=16).SerializeToString()


def expired(authority: Authority, _: Path) -> Mapping[str, str]:
    return authority.issue("expired", "worker", not_after=datetime.now(UTC) - timedelta(days=1))


def self_signed(authority: Authority, folder: Path) -> Mapping[str, str]:
    return {**Authority(folder / "self").own, "TLS_CA": str(authority.file)}


def of_another(authority: Authority, folder: Path) -> Mapping[str, str]:
    return {**Authority(folder / "another").issue("worker"), "TLS_CA": str(authority.file)}


def none_at_all(authority: Authority, _: Path) -> Mapping[str, str]:
    return {"TLS_CA": str(authority.file)}


BAD = [
    (expired, "CERTIFICATE_VERIFY_FAILED: certificate has expired"),
    (self_signed, "CERTIFICATE_VERIFY_FAILED: self signed certificate"),
    (of_another, "CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate"),
    (none_at_all, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
]


@pytest.fixture
def rng(processes: ServiceProcesses, authority: Authority) -> ServiceProcess:
    return processes.start("rng", PACE="full", LOG_FORMAT="json", **authority.issue("rng"))


@pytest.mark.parametrize(("make", "reason"), BAD)
async def test_a_bad_certificate_is_refused_with_the_reason_in_the_log(
    rng: ServiceProcess,
    authority: Authority,
    tmp_path: Path,
    make: Callable[[Authority, Path], Mapping[str, str]],
    reason: str,
) -> None:
    async with connected(rng, make(authority, tmp_path), "rng") as channel:
        error = await call(channel, f"/{RNG}/GetRandomBytes", REQUEST)
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    rng.wait_for(r"handshake failed")
    [line] = log_lines(rng, "handshake failed")
    assert str(line["reason"]).startswith(reason)
    assert line["level"] == "warning"
    async with connected(rng, authority.issue("worker"), "rng") as channel:
        answer = await call(channel, f"/{RNG}/GetRandomBytes", REQUEST)
    assert isinstance(answer, bytes)
    assert len(GetRandomBytesResponse.FromString(answer).data) == 16
    assert rng.stop() == 0


async def test_the_wrong_name_is_refused_with_the_reason_in_the_log(rng: ServiceProcess, authority: Authority) -> None:
    async with connected(rng, authority.issue("webui"), "rng") as channel:
        error = await call(channel, f"/{RNG}/GetRandomBytes", REQUEST)
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert error.details() == "GetRandomBytes is for worker; this certificate is of webui"
    rng.wait_for(r"caller refused")
    [line] = log_lines(rng, "caller refused")
    assert (line["method"], line["names"], line["allowed"]) == ("GetRandomBytes", "webui", "worker")
    assert str(line["peer"]).startswith("ipv4:127.0.0.1:")


async def test_many_refusals_are_few_lines_with_all_of_them_counted(
    rng: ServiceProcess, authority: Authority, tmp_path: Path
) -> None:
    for _ in range(20):
        async with connected(rng, self_signed(authority, tmp_path), "rng") as channel:
            await call(channel, f"/{RNG}/GetRandomBytes", REQUEST)
    assert rng.stop() == 0
    lines = log_lines(rng, "handshake failed")
    assert sum(int(str(line["times"])) for line in lines) >= 20
    assert len(lines) <= 5
    assert "ssl_transport_security" not in rng.text


def knock(server: ServiceProcess, authority: Authority, times: int) -> None:
    """Shake hands so many times without a certificate."""
    context = ssl.create_default_context(cafile=authority.file)
    for _ in range(times):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", server.port), 5) as connection,
            context.wrap_socket(connection, server_hostname="rng") as encrypted,
        ):
            assert not encrypted.recv(1)


def test_a_thousand_refusals_leave_nothing_in_memory(rng: ServiceProcess, authority: Authority) -> None:
    rng.wait_until_started()
    memory = psutil.Process(rng.popen.pid).memory_info
    knock(rng, authority, 100)
    before = memory().rss
    knock(rng, authority, 900)
    assert memory().rss <= 1.2 * before
    assert rng.stop() == 0
    assert sum(int(str(line["times"])) for line in log_lines(rng, "handshake failed")) == 1_000


async def test_whoever_does_not_encrypt_is_refused(rng: ServiceProcess) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{rng.port}") as channel:
        error = await call(channel, f"/{RNG}/GetRandomBytes", REQUEST)
    assert isinstance(error, grpc.aio.AioRpcError)
    rng.wait_for(r"handshake failed")
    [line] = log_lines(rng, "handshake failed")
    assert "WRONG_VERSION_NUMBER" in str(line["reason"]) or "HTTP" in str(line["reason"])
