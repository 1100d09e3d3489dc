#!/usr/bin/env python3
"""A handler can yield 4 MiB to a client that reads nothing; 64 KiB if that client has no BDP probe.

Versions: grpcio 1.85.1, grpc.aio; seen 2026-11-29.

A server's handler yields messages of 16 KiB, and the client never reads. One would expect that write() waits after
HTTP/2's initial window of 64 KiB. But the client's library reads ahead for a stream that nobody reads: its window grows
by its estimate of the connection (BDP), to 4 MiB at first sight. So a bound on what is in flight can't be built on
write() waiting, and a client with a thousand slow streams may hold gigabytes. grpc.http2.bdp_probe 0 is the argument
that changes it, and it is the reader's that counts.

Prints how many KiB a handler wrote within 2 s, by the client's arguments.
"""

import asyncio
from collections.abc import AsyncIterator

from support import expect, run_with, serve

run_with("grpcio==1.85.1")

import grpc

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
