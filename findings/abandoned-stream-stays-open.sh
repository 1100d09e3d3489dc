#!/usr/bin/env bash
# A response stream that a client leaves by `break` stays open until the channel closes, garbage collection or not.
#
# Versions: grpcio 1.85.1, grpc.aio; seen 2026-11-29. Since 1.83 (grpc/grpc#43462); with 1.82.3 the stream ends.
#
# A client reads the first message of a stream with `async for` and leaves the loop, as with a generator. Nothing refers
# to the call any more, and it has no close(). Releases before 1.83 cancelled such a call when it was collected. Now the
# handler goes on: it sends until the flow-control window is full, at up to 4 MiB, and then waits in its `yield` for as
# long as the channel lives. Each such stream keeps a handler, its buffers and one of the connection's streams. So every
# loop over a stream that may end early has a `finally` with call.cancel(), or its call has a timeout.
#
# Prints whether the handler had ended 2.5 s after the client left, with several garbage collections meanwhile.
#
# Seen:
#     ended after break and collection: False
#     ended after cancel(): True
#     ended when the channel closed: True
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio)=="

GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" <<'PYTHON'
import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Iterable
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
    ended: set[bytes] = set()

    async def stream(name: bytes, _context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b""
                await asyncio.sleep(0.05)
        finally:
            ended.add(name)

    server = await serve({"Stream": grpc.unary_stream_rpc_method_handler(stream)})

    async def read_one(channel: grpc.aio.Channel, name: bytes) -> None:
        async for _ in channel.unary_stream("/test/Stream")(name):
            break

    async def read_one_and_cancel(channel: grpc.aio.Channel, name: bytes) -> None:
        call = channel.unary_stream("/test/Stream")(name)
        try:
            async for _ in call:
                break
        finally:
            call.cancel()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        await read_one(channel, b"left")
        await read_one_and_cancel(channel, b"cancelled")
        for _ in range(4):
            await asyncio.sleep(0.5)
            gc.collect()
        await asyncio.sleep(0.5)
        expect("ended after break and collection", b"left" in ended, b"left" not in ended)
        expect("ended after cancel()", b"cancelled" in ended, b"cancelled" in ended)
    await asyncio.sleep(1)
    expect("ended when the channel closed", b"left" in ended, b"left" in ended)
    await server.stop(0)


asyncio.run(main())
PYTHON
