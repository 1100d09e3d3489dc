import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest, StreamRandomBytesResponse
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from structlog.testing import capture_logs
from support.certificates import Authority
from support.free_port import free_port
from support.rng_servers import Context, PoolClient
from support.waiting import until

from chassis.grpc_client import failure, open_channel
from chassis.grpc_options import SERVED_BY
from chassis.settings import CertificateFiles
from chassis.tls import RenewedCertificates
from worker_svc.stage import RNG

SAYING_LIMIT_S = 5.0

Requests = AsyncIterator[StreamRandomBytesRequest]
Responses = AsyncIterator[bytes]


def responding(*headers: tuple[str, str], more_id: int = 0, more_bytes: int = 0) -> Any:
    """Return a servicer with these initial metadata, whose responses are that much off."""

    async def respond(requests: Requests, context: Context) -> Responses:
        if headers:
            await context.send_initial_metadata(headers)
        async for request in requests:
            batches = [
                StreamRandomBytesResponse.Batch(
                    batch_id=batch.batch_id + more_id, data=bytes(batch.count * batch.size + more_bytes)
                )
                for batch in request.batches
            ]
            yield StreamRandomBytesResponse(batches=batches).SerializeToString()

    return respond


async def garble(requests: Requests, _: Context) -> Responses:
    async for _request in requests:
        yield b"\xff"


async def deny(requests: Requests, context: Context) -> Responses:
    async for _ in requests:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
    yield b""


async def be_silent(_: Requests, __: Context) -> Responses:
    await asyncio.sleep(3600)
    yield b""


@contextlib.asynccontextmanager
async def serving(
    behavior: Any = None,
    *,
    method: str = RNG.method,
    credentials: grpc.ServerCredentials | None = None,
    healthy_name: str | None = None,
) -> AsyncIterator[int]:
    server = grpc.aio.server()
    handler: Any = grpc.stream_stream_rpc_method_handler(behavior or responding(), StreamRandomBytesRequest.FromString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(RNG.service, {method: handler}),))
    if healthy_name is not None:
        statuses = health.aio.HealthServicer()
        await statuses.set(healthy_name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@pytest.mark.parametrize("behavior", [responding(), responding(("server", "somebody else's"))])
async def test_one_without_a_name_or_health_is_used_under_its_address(behavior: Any) -> None:
    async with serving(behavior) as port, PoolClient(port).running() as client:
        await client.until_completed(100)
        assert client.pool.replicas == [f"127.0.0.1:{port}"]
        await until(lambda: client.pool.picker.replicas.listed[0].accepting[1:])
        await client.finish()


def credentials(settings: dict[str, str]) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(Path(settings["TLS_KEY"]).read_bytes(), Path(settings["TLS_CERT"]).read_bytes())]
    )


async def talk_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def test_a_fault_that_makes_a_server_useless_is_logged_within_five_seconds(tmp_path: Path) -> None:
    ours, theirs = (Authority(tmp_path / name).issue("rng", "127.0.0.1") for name in ("ours", "theirs"))
    tls = RenewedCertificates(CertificateFiles(*map(Path, ours.values())))
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        lines: list[Any] = stack.enter_context(capture_logs())
        frozen = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        web = await enter(await asyncio.start_server(talk_http, "127.0.0.1", 0))
        expected = {
            f"ipv4:127.0.0.1:{free_port()}": "Connection refused",
            "dns:///nowhere.invalid:50051": "nowhere.invalid.*Domain name not found",
            f"ipv4:127.0.0.1:{await enter(serving(method='Misspelt'))}": "UNIMPLEMENTED",
            f"ipv4:127.0.0.1:{await enter(serving(deny))}": "PERMISSION_DENIED: not you",
            f"ipv4:127.0.0.1:{await enter(serving(responding(more_bytes=-1)))}": "0 bytes for batch 0, not 1",
            f"ipv4:127.0.0.1:{await enter(serving(responding(more_id=1_000_000)))}": "a response to no batch: 1000000",
            f"ipv4:127.0.0.1:{await enter(serving(garble))}": "a response that can't be decoded",
            f"ipv4:127.0.0.1:{await enter(serving(responding((SERVED_BY, 'x' * 5_000))))}": "a name of 5000 characters",
            f"ipv4:127.0.0.1:{await enter(serving(be_silent))}": "sends no response",
            f"ipv4:127.0.0.1:{await enter(serving(healthy_name=''))}": "its health service does not report",
            f"ipv4:127.0.0.1:{web.sockets[0].getsockname()[1]}": "HTTP status 400",
            f"ipv4:127.0.0.1:{frozen.getsockname()[1]}": "timed out before receiving SETTINGS",
            f"ipv4:127.0.0.1:{await enter(serving(credentials=credentials(ours)))}": "it may want TLS",
        }
        encrypted = {
            f"dns:///127.0.0.1:{await enter(serving())}": "it speaks no TLS",
            f"dns:///127.0.0.1:{await enter(serving(credentials=credentials(theirs)))}": "(?:verif|VERIF)",
        }
        for target in expected:
            await enter(PoolClient(target=target, window=1).running())
        for target in encrypted:
            await enter(PoolClient(target=target, window=1, certificates=tls).running())
        missing = expected | encrypted

        def all_logged() -> bool:
            for line in lines:
                reason = missing.get(line.get("target", ""))
                if reason and "no endpoint" in line["event"] and re.search(reason, line["details"]):
                    del missing[line["target"]]
            return not missing

        with contextlib.suppress(AssertionError):
            await until(all_logged, SAYING_LIMIT_S)
        assert not missing, lines


async def test_a_channel_that_is_closed_meanwhile_has_no_known_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        channel = open_channel(f"ipv4:127.0.0.1:{silent.getsockname()[1]}", "a.Service", None)
        looking = asyncio.create_task(failure(channel, secure=False))
        await asyncio.sleep(0)
        await channel.close()
        assert await looking == ""
