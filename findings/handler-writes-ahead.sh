#!/usr/bin/env bash
# A handler can yield 4 MiB to a client that reads nothing; 64 KiB if that client has no BDP probe.
#
# Versions: grpcio 1.85.1, grpc.aio; seen 2026-11-29.
#
# A server's handler yields messages of 16 KiB, and the client never reads. One would expect that write() waits after
# HTTP/2's initial window of 64 KiB. But the client's library reads ahead for a stream that nobody reads: its window grows
# by its estimate of the connection (BDP), to 4 MiB at first sight. So a bound on what is in flight can't be built on
# write() waiting, and a client with a thousand slow streams may hold gigabytes. grpc.http2.bdp_probe 0 is the argument
# that changes it, and it is the reader's that counts.
#
# Prints how many KiB a handler wrote within 2 s, by the client's arguments.
#
# Seen:
#     KiB with defaults: 4080
#     KiB without the client's BDP probe: 48
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


written = 0


async def stream(_request: bytes, _context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
    global written
    for _ in range(4_096):
        yield bytes(16_384)
        written += 16


async def kib_ahead(port: int, options: list[tuple[str, int]]) -> int:
    global written
    written = 0
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        call = channel.unary_stream("/test/Stream")(b"")
        await call.wait_for_connection()
        await asyncio.sleep(2)
        call.cancel()
        return written


async def main() -> None:
    server = await serve({"Stream": grpc.unary_stream_rpc_method_handler(stream)})
    defaults = await kib_ahead(server.port, [])
    without = await kib_ahead(server.port, [("grpc.http2.bdp_probe", 0)])
    expect("KiB with defaults", defaults, defaults > 1_024)
    expect("KiB without the client's BDP probe", without, without <= 128)
    await server.stop(0)


asyncio.run(main())
PYTHON
