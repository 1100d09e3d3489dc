#!/usr/bin/env bash
# Custom metadata of a call is sent in full with each call, although HPACK's table would hold it.
#
# Versions: grpcio 1.85.1; seen 2026-11-29.
#
# HTTP/2 compresses headers by an index: what was sent once on a connection is one byte after that. gRPC's core does so
# for the path, the authority and the user agent. For custom metadata, also of the same value in each call, it does not:
# an entry of a name of 11 and a value of 100 characters costs 114 bytes in each of 100 calls. A token of 1 KiB in the
# metadata of small calls is most of what is sent, and belongs into a stream's beginning.
#
# Prints the bytes that a client sends for a call, without and with the entry, on a warm connection.
#
# Seen:
#     bytes a call: 57
#     bytes more with the entry: 114
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


async def main() -> None:
    async def respond(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return b""

    server = await serve({"Call": grpc.unary_unary_rpc_method_handler(respond)})
    sent = 0

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", server.port)

        async def back() -> None:
            while data := await there_reader.read(65_536):
                writer.write(data)

        answers = asyncio.create_task(back())
        nonlocal sent
        while data := await reader.read(65_536):
            sent += len(data)
            there_writer.write(data)
        there_writer.close()
        await answers
        writer.close()

    proxy = await asyncio.start_server(forward, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.http2.bdp_probe", 0)]) as channel:
        call = channel.unary_unary("/test/Call")

        async def bytes_per_call(metadata: tuple[tuple[str, str], ...]) -> float:
            for _ in range(10):
                await call(b"", metadata=metadata)
            before = sent
            for _ in range(CALLS):
                await call(b"", metadata=metadata)
            return (sent - before) / CALLS

        without = await bytes_per_call(())
        with_entry = await bytes_per_call((("x-eleven-ch", "v" * 100),))
    expect("bytes a call", round(without), without < 100)
    expect("bytes more with the entry", round(with_entry - without), 105 <= with_entry - without <= 120)
    proxy.close()
    await server.stop(0)


asyncio.run(main())
PYTHON
