#!/usr/bin/env bash
# Most connections that are lost during write() of grpc.aio end the call with INTERNAL, "Internal error from Core".
#
# Versions: grpcio 1.85.1; seen 2026-11-29. See also grpc/grpc issue 36066, in which a method was not implemented.
#
# A connection drops while a client of a two-way stream writes and waits for no response. A unary call that loses its
# connection ends with UNAVAILABLE, the code that means "try again". A call that writes ends so only if its end is noticed
# between two writes, and write() then raises asyncio.InvalidStateError. Otherwise write() raises an AioRpcError with
# INTERNAL, on which no policy retries, and its own code() is INTERNAL, too. A client that writes and retries by code
# has to retry these words as well, or it takes a lost connection for a defect.
#
# Prints how often each end was seen, in 20 calls.
#
# Seen:
#     ends: {'INTERNAL: Internal error from Core, then code() is INTERNAL': 12, "InvalidStateError('RPC already
#         finished.'), then code() is UNAVAILABLE": 8}
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


BACKOFF = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]


async def main() -> None:
    async def swallow(_requests: object, context: grpc.aio.ServicerContext) -> None:
        await context.send_initial_metadata(())
        while await context.read() is not grpc.aio.EOF:
            pass

    server = await serve({"Stream": grpc.stream_stream_rpc_method_handler(swallow)})
    sides: list[asyncio.StreamWriter] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", server.port)
        sides.extend((writer, there_writer))

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                sink.write(data)

        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer), return_exceptions=True)

    proxy = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}", BACKOFF) as channel:
        ends: Counter[str] = Counter()
        for _ in range(20):
            call = channel.stream_stream("/test/Stream")(wait_for_ready=True)
            await call.initial_metadata()
            writing = asyncio.create_task(write_on(call))
            await asyncio.sleep(0.3)
            for side in sides:
                side.transport.abort()
            sides.clear()
            raised = await asyncio.wait_for(writing, 30)
            ends[f"{raised}, then code() is {(await call.code()).name}"] += 1
    internal = ends["INTERNAL: Internal error from Core, then code() is INTERNAL"]
    expect("ends", dict(ends), internal >= 5)
    proxy.close()
    await server.stop(0)


async def write_on(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> str:
    try:
        while True:
            await call.write(bytes(1_000))
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    except asyncio.InvalidStateError as error:
        return repr(error)


asyncio.run(main())
PYTHON
