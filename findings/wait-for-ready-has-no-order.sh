#!/usr/bin/env bash
# Calls that wait for a server with wait_for_ready are not sent in the order in which they were made.
#
# Versions: grpcio 1.85.1; seen 2026-11-29.
#
# 1,000 calls wait on one channel whose server is away. One would expect a queue, first in, first out. When the server
# comes, it receives them in hardly any order: those that waited longest may be the last, and only their deadlines save
# others from them. What must be fair or in order has to wait in a queue of the program.
#
# Prints how many of the 1,000 calls arrive right after the call that was made before them (999 in a queue).
#
# Seen:
#     in order, of calls that waited: 4
#     the first ten that arrived: 852 579 86 647 744 160 488 249 997 102
#     in order, of calls to a server that was there: 999
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
from collections.abc import Iterable
from typing import Any

import grpc
import itertools


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
PYTHON
