#!/usr/bin/env bash
# Keepalive does not notice a Python server whose event loop is blocked, and new channels to it become READY.
#
# Versions: grpcio 1.85.1, grpc.aio; seen 2026-11-29.
#
# A handler blocks the event loop for six seconds: time.sleep(), a slow regular expression, a synchronous driver.
# Nothing in the server runs meanwhile. But threads of gRPC's own, which need neither the loop nor the interpreter's
# lock, accept connections, do the HTTP/2 handshake and answer pings. So a client with a keepalive of one second sees
# nothing, a channel that is opened meanwhile becomes READY within milliseconds, and its calls wait for their deadlines.
# A TCP check or a connection as a readiness probe passes as well. What shows a blocked server is an answer that its
# loop has to give: a deadline on each call, or a call to its health service.
#
# Prints what a client sees while the loop sleeps, and while it computes and holds the interpreter's lock.
#
# Seen:
#     sleeps: keepalive sees READY, a new channel is ready after 0.02 s, its call ends with DEADLINE_EXCEEDED
#     computes: keepalive sees READY, a new channel is ready after 0.01 s, its call ends with DEADLINE_EXCEEDED
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio)=="

cat >"$folder/main.py" <<'PYTHON'
import asyncio
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

import grpc


def expect(what: str, seen: object, holds: object) -> None:
    """Print what was seen; exit with 1 if the finding does not hold any more."""
    print(f"{what}: {seen}", flush=True)
    if not holds:
        print("this is not the behaviour that the finding describes", file=sys.stderr, flush=True)
        # gRPC's threads may keep an interpreter from ending while calls are open.
        os._exit(1)


async def serve(handlers: dict[str, Any], options: Iterable[tuple[str, Any]] = (), address: str = "127.0.0.1:0") -> Any:
    """Start a grpc.aio server of bytes: `{"Name": grpc.unary_unary_rpc_method_handler(…)}` is /test/Name.

    Returns the server, with its port as `port`.
    """
    server = grpc.aio.server(options=tuple(options))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    server.port = server.add_insecure_port(address)
    await server.start()
    return server


BLOCKED_S = 6
KEEPALIVE = (
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 1_000),
    ("grpc.http2.ping_timeout_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
)


async def serve_until_killed() -> None:
    async def block(how: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        if how == b"sleeps":
            time.sleep(BLOCKED_S)
        else:
            end = time.monotonic() + BLOCKED_S
            while time.monotonic() < end:
                pass
        return b""

    async def respond(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return b""

    handlers = {
        "Block": grpc.unary_unary_rpc_method_handler(block),
        "Call": grpc.unary_unary_rpc_method_handler(respond),
    }
    # Otherwise a server ends connections that ping so often.
    server = await serve(handlers, [("grpc.http2.min_ping_interval_without_data_ms", 100)])
    print(server.port, flush=True)
    await server.wait_for_termination()


async def call(channel: grpc.aio.Channel, method: str, request: bytes, timeout: float) -> str:
    try:
        await channel.unary_unary(f"/test/{method}")(request, timeout=timeout)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def look(target: str, how: str) -> tuple[str, float, str, str]:
    async with grpc.aio.insecure_channel(target, KEEPALIVE) as channel:
        blocked = asyncio.create_task(call(channel, "Block", how.encode(), 60))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        async with grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as other:
            await asyncio.wait_for(other.channel_ready(), 60)
            ready_s = time.monotonic() - began
            end = await call(other, "Call", b"", 4 - ready_s)
        state = channel.get_state().name
        return state, ready_s, end, await blocked


async def main() -> None:
    server = await asyncio.create_subprocess_exec(sys.executable, "-W", "ignore", __file__, "server", stdout=-1)
    try:
        target = f"127.0.0.1:{int(await server.stdout.readline())}"
        seen = {how: await look(target, how) for how in ("sleeps", "computes")}
    finally:
        server.kill()
        await server.wait()
    for how, (state, ready_s, end, of_blocked) in seen.items():
        text = f"keepalive sees {state}, a new channel is ready after {ready_s:.2f} s, its call ends with {end}"
        expect(how, text, (state, end, of_blocked) == ("READY", "DEADLINE_EXCEEDED", "OK") and ready_s < 2)


asyncio.run(serve_until_killed() if "server" in sys.argv else main())
PYTHON
GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s "$folder/main.py" "$folder"
