#!/usr/bin/env python3
"""A name server that repeats an address gives that replica twice its share of round_robin's calls.

Versions: grpcio 1.85.1, its own c-ares (the default resolver), dnspython 2.9.2 as the name server; seen 2026-11-29.

The name has two replicas, and the answer lists the first one twice. One would expect a set of addresses, as
getaddrinfo's users mostly treat it. round_robin keeps the repetition: the replica has 2 of 3 calls, over one
connection. Whoever balances by addresses from DNS has to remove repetitions.

Prints the calls of each replica out of 300.
"""

import asyncio
from collections import Counter

from support import expect, name_server, run_with, serve, with_addresses

run_with("grpcio==1.85.1", "dnspython==2.9.2")

import grpc


async def main() -> None:
    calls: Counter[str] = Counter()

    def replica(name: str) -> dict[str, grpc.RpcMethodHandler]:
        async def call(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            calls[name] += 1
            peers[name].add(context.peer())
            return b""

        return {"Call": grpc.unary_unary_rpc_method_handler(call)}

    peers: dict[str, set[str]] = {"first": set(), "second": set()}
    first = await serve(replica("first"), [("grpc.so_reuseport", 0)], "127.0.0.1:0")
    second = await serve(replica("second"), [("grpc.so_reuseport", 0)], f"127.0.0.2:{first.port}")
    names, port = await name_server(lambda query: with_addresses(query, ["127.0.0.1", "127.0.0.2", "127.0.0.1"]))
    target = f"dns://127.0.0.1:{port}/replicas.test:{first.port}"
    policy = '{"loadBalancingConfig": [{"round_robin": {}}]}'
    async with grpc.aio.insecure_channel(target, [("grpc.service_config", policy)]) as channel:
        call = channel.unary_unary("/test/Call")
        while len(calls) < 2:
            await call(b"", wait_for_ready=True, timeout=20)
        await asyncio.sleep(1)
        calls.clear()
        for _ in range(300):
            await call(b"")
    expect("calls", dict(calls), calls == {"first": 200, "second": 100})
    expect(
        "connections", {name: len(each) for name, each in peers.items()}, all(len(each) == 1 for each in peers.values())
    )
    await asyncio.gather(first.stop(0), second.stop(0))
    names.close()


asyncio.run(main())
