#!/usr/bin/env python3
"""A message over the limit ends with the code of an overloaded server, and gzip saves nothing from the limit.

Versions: grpcio 1.85.1; seen 2026-11-29.

The server takes 4 MiB (the default), and clients call it with more, in one message.
  1. The client gets RESOURCE_EXHAUSTED, the code of an overloaded server, on which retry policies retry. Only the words
     "Received message larger than max" tell one from the other.
  2. Exactly 4 MiB pass, one byte more does not: the five bytes before a message do not count.
  3. 8 MiB of zeros, some KiB with gzip, are refused after decompression, in other words, without sides or sizes. An
     alert that looks for the words of 1 does not see it.

Prints how the calls end.
"""

import asyncio

from support import expect, run_with, serve

run_with("grpcio==1.85.1")

import grpc

LIMIT = 4 * 1024**2


async def main() -> None:
    async def respond(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return b""

    server = await serve({"Call": grpc.unary_unary_rpc_method_handler(respond)})

    async def call(size: int, compression: grpc.Compression | None = None) -> str:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", compression=compression) as channel:
            try:
                await channel.unary_unary("/test/Call")(bytes(size), timeout=20)
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}"
            return "OK"

    seen = await call(LIMIT)
    expect("4 MiB", seen, seen == "OK")
    seen = await call(LIMIT + 1)
    expect("a byte more", seen, "RESOURCE_EXHAUSTED" in seen and "Received message larger" in seen)
    plain = await call(2 * LIMIT)
    expect("8 MiB", plain, plain.startswith("RESOURCE_EXHAUSTED"))
    packed = await call(2 * LIMIT, grpc.Compression.Gzip)
    expect("8 MiB of zeros with gzip", packed, packed == "RESOURCE_EXHAUSTED: Decompressed message larger than max")
    await server.stop(0)


asyncio.run(main())
