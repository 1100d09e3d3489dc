#!/usr/bin/env python3
"""A first address that drops packets delays a channel by 250 ms with pick_first, and not at all with round_robin.

Versions: grpcio 1.85.1; seen 2026-11-29. Linux (a full accept queue drops SYN packets there).

Older descriptions of pick_first say that it tries one address after the other, 20 s each. It has Happy Eyeballs as RFC
8305 describes them for browsers with a dead IPv6: the next address is tried after 250 ms, here of the same family. Here
the first of two addresses is a listening socket whose queue is full, so that its SYNs stay unanswered as with a dead
route. round_robin connects to all addresses at once, and a call needs the first one that is ready.

Prints the seconds until a call is answered, by policy.
"""

import asyncio
import socket
import time

from support import expect, run_with, serve

run_with("grpcio==1.85.1")

import grpc


async def main() -> None:
    async def respond(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return b""

    server = await serve({"Call": grpc.unary_unary_rpc_method_handler(respond)})
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        filling = []
        for _ in range(4):
            filling.append(socket.socket())
            filling[-1].setblocking(False)
            filling[-1].connect_ex(silent.getsockname())
        await asyncio.sleep(0.2)
        target = f"ipv4:127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{server.port}"
        for policy in ("pick_first", "round_robin"):
            options = [("grpc.service_config", f'{{"loadBalancingConfig": [{{"{policy}": {{}}}}]}}')]
            async with grpc.aio.insecure_channel(target, options) as channel:
                began = time.monotonic()
                await channel.unary_unary("/test/Call")(b"", wait_for_ready=True, timeout=60)
                seconds = time.monotonic() - began
            low, high = (0.2, 1.5) if policy == "pick_first" else (0, 0.2)
            expect(f"seconds with {policy}", round(seconds, 2), low <= seconds < high)
        for each in filling:
            each.close()
    await server.stop(0)


asyncio.run(main())
