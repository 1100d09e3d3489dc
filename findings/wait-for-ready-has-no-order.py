#!/usr/bin/env python3
"""Calls that wait for a server with wait_for_ready are not sent in the order in which they were made.

Versions: grpcio 1.85.1; seen 2026-11-29.

1,000 calls wait on one channel whose server is away. One would expect a queue, first in, first out. When the server
comes, it receives them in hardly any order: those that waited longest may be the last, and only their deadlines save
others from them. What must be fair or in order has to wait in a queue of the program.

Prints how many of the 1,000 calls arrive right after the call that was made before them (999 in a queue).
"""

import asyncio

from support import expect, run_with, serve

run_with("grpcio==1.85.1")

import itertools

import grpc

CALLS = 1_000


async def main() -> None:
    arrived: list[int] = []

    async def respond(request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        arrived.append(int(request))
        return b""

    handlers = {"Call": grpc.unary_unary_rpc_method_handler(respond)}
    reserved = await serve(handlers)
    await reserved.stop(0)
    target = f"127.0.0.1:{reserved.port}"
    options = [("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 500)]
    async with grpc.aio.insecure_channel(target, options) as channel:
        call = channel.unary_unary("/test/Call")

        async def numbered(number: int) -> None:
            await call(b"%d" % number, wait_for_ready=True, timeout=60)

        waiting = []
        for number in range(CALLS):
            waiting.append(asyncio.create_task(numbered(number)))
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        server = await serve(handlers, address=target)
        await asyncio.gather(*waiting)
        # The same calls at a server that is there, for comparison.
        waited = arrived.copy()
        arrived.clear()
        await asyncio.gather(*map(numbered, range(CALLS)))
        await server.stop(0)
    expect("in order, of calls that waited", in_order(waited), in_order(waited) < CALLS // 2)
    print("the first ten that arrived:", *waited[:10])
    print("in order, of calls to a server that was there:", in_order(arrived))


def in_order(numbers: list[int]) -> int:
    return sum(after == before + 1 for before, after in itertools.pairwise(numbers))


asyncio.run(main())
