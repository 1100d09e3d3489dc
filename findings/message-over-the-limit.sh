#!/usr/bin/env bash
# A message over the limit ends with the code of an overloaded server, and gzip saves nothing from the limit.
#
# Versions: grpcio 1.85.1; seen 2026-11-29.
#
# The server takes 4 MiB (the default), and clients call it with more, in one message.
#   1. The client gets RESOURCE_EXHAUSTED, the code of an overloaded server, on which retry policies retry. Only the words
#      "Received message larger than max" tell one from the other.
#   2. Exactly 4 MiB pass, one byte more does not: the five bytes before a message do not count.
#   3. 8 MiB of zeros, some KiB with gzip, are refused after decompression, in other words, without sides or sizes. An
#      alert that looks for the words of 1 does not see it.
#
# Prints how the calls end.
#
# Seen:
#     4 MiB: OK
#     a byte more: RESOURCE_EXHAUSTED: SERVER: Received message larger than max (4194305 vs. 4194304)
#     8 MiB: RESOURCE_EXHAUSTED: SERVER: Received message larger than max (8388608 vs. 4194304)
#     8 MiB of zeros with gzip: RESOURCE_EXHAUSTED: Decompressed message larger than max
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
PYTHON
