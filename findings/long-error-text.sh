#!/usr/bin/env bash
# An error text of 8 to 16 KiB turns some INVALID_ARGUMENT into RESOURCE_EXHAUSTED, at random.
#
# Versions: grpcio 1.85.1; seen 2026-11-29.
#
# A handler ends a call with INVALID_ARGUMENT and a text, say a list of all bad fields or a traceback. The text travels in
# the trailing metadata, whose limits are the client's: over 8 KiB calls are refused with a probability that grows, and
# over 16 KiB always. What the client then gets is RESOURCE_EXHAUSTED, on which it may retry, and of the text nothing. The
# same error of the same request is now this code and now that. Details in google.rpc.Status count in the same way.
#
# Prints how 100 calls each end, by the characters of the text.
#
# Seen:
#     7,000: {'INVALID_ARGUMENT': 100}
#     12,000: {'RESOURCE_EXHAUSTED': 50, 'INVALID_ARGUMENT': 50}
#     20,000: {'RESOURCE_EXHAUSTED': 100}
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


CALLS = 100


async def main() -> None:
    async def respond(request: bytes, context: grpc.aio.ServicerContext) -> None:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "x" * int(request))

    server = await serve({"Call": grpc.unary_unary_rpc_method_handler(respond)})
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary("/test/Call")

        async def ends(size: int) -> Counter[str]:
            codes = [await call(b"%d" % size, timeout=20).code() for _ in range(CALLS)]
            return Counter(code.name for code in codes)

        seen = await ends(7_000)
        expect("7,000", dict(seen), seen == {"INVALID_ARGUMENT": CALLS})
        seen = await ends(12_000)
        expect("12,000", dict(seen), seen.keys() == {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"})
        seen = await ends(20_000)
        expect("20,000", dict(seen), seen == {"RESOURCE_EXHAUSTED": CALLS})
    await server.stop(0)


asyncio.run(main())
PYTHON
