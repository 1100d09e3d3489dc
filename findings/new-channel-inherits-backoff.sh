#!/usr/bin/env bash
# A new channel to a server that just came up fails for as long as another channel's backoff to that address lasts.
#
# Versions: grpcio 1.85.1; seen 2026-11-29.
#
# Channels of a process whose arguments are equal share subchannels, by address. A channel has tried an address in vain
# and is in backoff (here 20 s). The server starts, and the program opens another channel: it does not connect, but
# inherits the backoff. A program that replaces a broken channel by a new one gains nothing by it. A channel with
# grpc.use_local_subchannel_pool 1 connects at once; so does one with any argument that the others do not have.
#
# Prints the seconds until a call with wait_for_ready was answered, by kind of channel.
#
# Seen:
#     a pool of its own, s: 0.0
#     one more argument, s: 0.0
#     equal arguments, s: 18.5
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


BACKOFF = (("grpc.initial_reconnect_backoff_ms", 20_000), ("grpc.max_reconnect_backoff_ms", 20_000))


async def call(channel: grpc.aio.Channel) -> float:
    began = time.monotonic()
    await channel.unary_unary("/test/Call")(b"", wait_for_ready=True, timeout=60)
    return time.monotonic() - began


async def main() -> None:
    async def respond(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return b""

    handlers = {"Call": grpc.unary_unary_rpc_method_handler(respond)}
    reserved = await serve(handlers)
    await reserved.stop(0)
    target = f"127.0.0.1:{reserved.port}"
    async with (
        grpc.aio.insecure_channel(target, BACKOFF) as early,
        grpc.aio.insecure_channel(target, BACKOFF) as equal,
        grpc.aio.insecure_channel(target, (*BACKOFF, ("grpc.use_local_subchannel_pool", 1))) as own_pool,
        grpc.aio.insecure_channel(target, (*BACKOFF, ("an.argument", 1))) as unlike,
    ):
        early.get_state(try_to_connect=True)
        while early.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            await asyncio.sleep(0.05)
        server = await serve(handlers, address=target)
        own_s, unlike_s, equal_s = await asyncio.gather(call(own_pool), call(unlike), call(equal))
        expect("a pool of its own, s", round(own_s, 1), own_s < 2)
        expect("one more argument, s", round(unlike_s, 1), unlike_s < 2)
        expect("equal arguments, s", round(equal_s, 1), equal_s > 10)
        await server.stop(0)


asyncio.run(main())
PYTHON
