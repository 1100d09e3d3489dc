#!/usr/bin/env bash
# A server's max_concurrent_streams does not make further calls wait: many of them fail with UNAVAILABLE.
#
# Versions: grpcio 1.85.1, grpc.aio on both sides; seen 2026-11-29.
#
# A server allows two streams a connection, and a client whose connection stands for half a second makes 40 calls on one
# channel. The HTTP/2 setting is known to the client, and at first it does what one would expect: two calls run, and 38
# wait, in the order in which they were made. But when a call ends, the client sends the next one as soon as it has the
# status, and the server often still counts the stream that has just ended: it refuses the new one (REFUSED_STREAM). A
# second refusal ends the call. No handler ever saw it, and its status is the one of a server that is down.
# So the option is no queue. A server that must bound what runs at once does so in its handlers. A client that knows the
# limit keeps to it with a semaphore of its own: then no call failed, since the next one is sent a little later.
#
# Prints how calls ended, over five rounds of 40, and how many handlers began.
#
# Seen:
#     all at once: 118 OK, 82 UNAVAILABLE: Stream removed (RST_STREAM (Received RST_STREAM with error code 7))
#     handlers began: 118
#     with a semaphore: 200 OK
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
from collections import Counter
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


LIMIT = 2
CALLS = 40
ROUNDS = 5


async def main() -> None:
    began = 0

    async def respond(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        nonlocal began
        began += 1
        await asyncio.sleep(0.02)
        return b""

    async def call(channel: grpc.aio.Channel, limit: asyncio.Semaphore) -> str:
        async with limit:
            try:
                await channel.unary_unary("/test/Call")(b"", timeout=60)
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}"
            return "OK"

    handlers = {"Call": grpc.unary_unary_rpc_method_handler(respond)}
    server = await serve(handlers, [("grpc.max_concurrent_streams", LIMIT)])

    async def count_ends(at_once: int) -> Counter[str]:
        ends: Counter[str] = Counter()
        for _ in range(ROUNDS):
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                await channel.channel_ready()
                await asyncio.sleep(0.5)
                limit = asyncio.Semaphore(at_once)
                ends.update(await asyncio.gather(*(call(channel, limit) for _ in range(CALLS))))
        return ends

    def list_ends(ends: Counter[str]) -> str:
        return ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))

    ends = await count_ends(CALLS)
    expect("all at once", list_ends(ends), set(ends) > {"OK"} and all("code 7" in end for end in ends if end != "OK"))
    expect("handlers began", began, began == ends["OK"])
    ends = await count_ends(LIMIT)
    expect("with a semaphore", list_ends(ends), ends["OK"] >= 0.95 * ROUNDS * CALLS)
    await server.stop(0)


asyncio.run(main())
PYTHON
