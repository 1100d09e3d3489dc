#!/usr/bin/env python3
"""server.stop() of grpc.aio returns while handlers that it cancelled still run, and their clean-up may never happen.

Versions: grpcio 1.85.1; seen 2026-11-29.

After the grace period stop() cancels the calls that are left. One would expect that it waits for the handlers'
`finally` as asyncio.TaskGroup does. It returns before: a handler whose clean-up awaits something has not ended yet, and
when asyncio.run() follows, its clean-up is cancelled a second time. A server that must keep count of what it holds has
to track its handlers itself and wait for them after stop().

Prints whether the handler's clean-up had ended when stop() returned, and half a second later.
"""

import asyncio

from support import expect, run_with, serve

run_with("grpcio==1.85.1")

import grpc


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
