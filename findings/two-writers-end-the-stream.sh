#!/usr/bin/env bash
# Tasks that write() to one stream of grpc.aio at the same time often end it, with INTERNAL.
#
# Versions: grpcio 1.85.1, grpc.aio, CPython 3.11; seen 2026-11-30.
#
# Several tasks of a client send on one stream, each a whole message, as they would put into an asyncio.Queue or a
# StreamWriter. One would expect that the messages follow each other in some order. gRPC's core takes one message at a
# time; grpc.aio hands it the second one all the same, and when the first has not been taken yet, that ends the call:
# INTERNAL, "Internal error from Core", on a healthy connection. It depends on the timing, so a test with a few writes
# passes. A lock around write(), or one task that writes from a queue, prevents it.
#
# Eight tasks write a message of 16 KiB each to one stream. Prints how 100 such calls ended, without and with a lock.
#
# Seen:
#     calls: INTERNAL 60, OK 40
#     calls, with a lock: OK 100
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio)=="

# grpc.aio prints a traceback for each handler that is cancelled.
GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" 2>"$folder/errors" <<'PYTHON' ||
import asyncio
import contextlib
import os
import sys
from collections import Counter
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


CALLS = 100
WRITERS = 8


async def write_together(call: Any, *, locked: bool) -> None:
    """Have tasks write to a call, and raise the first error when all have ended."""
    lock = asyncio.Lock()

    async def write() -> None:
        async with lock if locked else contextlib.nullcontext():
            await call.write(bytes(16_384))

    results = await asyncio.gather(*(write() for _ in range(WRITERS)), return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def main() -> None:
    async def read_all(requests: AsyncIterator[bytes], _context: grpc.aio.ServicerContext) -> bytes:
        async for _ in requests:
            pass
        return b""

    server = await serve({"ReadAll": grpc.stream_unary_rpc_method_handler(read_all)})
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:

        async def code(*, locked: bool) -> str:
            call = channel.stream_unary("/test/ReadAll")(timeout=20)
            await call.wait_for_connection()
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await write_together(call, locked=locked)
                await call.done_writing()
            return (await call.code()).name

        codes = Counter([await code(locked=False) for _ in range(CALLS)])
        seen = ", ".join(f"{name} {number}" for name, number in codes.most_common())
        expect("calls", seen, codes["INTERNAL"] >= CALLS // 50)
        codes = Counter([await code(locked=True) for _ in range(CALLS)])
        seen = ", ".join(f"{name} {number}" for name, number in codes.most_common())
        expect("calls, with a lock", seen, codes == {"OK": CALLS})
    await server.stop(0)


asyncio.run(main())
PYTHON
  { tail -n 20 "$folder/errors" >&2; exit 1; }
