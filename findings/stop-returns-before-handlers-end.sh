#!/usr/bin/env bash
# server.stop() of grpc.aio returns while handlers that it cancelled still run, and their clean-up may never happen.
#
# Versions: grpcio 1.85.1; seen 2026-11-29.
#
# After the grace period stop() cancels the calls that are left. One would expect that it waits for the handlers'
# `finally` as asyncio.TaskGroup does. It returns before: a handler whose clean-up awaits something has not ended yet, and
# when asyncio.run() follows, its clean-up is cancelled a second time. A server that must keep count of what it holds has
# to track its handlers itself and wait for them after stop().
#
# Prints whether the handler's clean-up had ended when stop() returned, and half a second later.
#
# Seen:
#     ended when stop() returned: False
#     ended half a second later: True
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio)=="

GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" <<'PYTHON'
import asyncio
import os
import sys
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


async def main() -> None:
    ended = []

    async def respond(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)
            ended.append("clean-up")
        return b""

    server = await serve({"Call": grpc.unary_unary_rpc_method_handler(respond)})
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary("/test/Call")(b"")
        await asyncio.sleep(0.5)
        await server.stop(0.1)
        at_return = bool(ended)
        await asyncio.sleep(0.5)
        call.cancel()
    expect("ended when stop() returned", at_return, not at_return)
    expect("ended half a second later", bool(ended), ended)


asyncio.run(main())
PYTHON
