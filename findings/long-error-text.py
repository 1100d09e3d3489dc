#!/usr/bin/env python3
"""An error text of 8 to 16 KiB turns some INVALID_ARGUMENT into RESOURCE_EXHAUSTED, at random.

Versions: grpcio 1.85.1; seen 2026-11-29.

A handler ends a call with INVALID_ARGUMENT and a text, say a list of all bad fields or a traceback. The text travels in
the trailing metadata, whose limits are the client's: over 8 KiB calls are refused with a probability that grows, and
over 16 KiB always. What the client then gets is RESOURCE_EXHAUSTED, on which it may retry, and of the text nothing. The
same error of the same request is now this code and now that. Details in google.rpc.Status count in the same way.

Prints how 100 calls each end, by the characters of the text.
"""

import asyncio
from collections import Counter

from support import expect, run_with, serve

run_with("grpcio==1.85.1")

import grpc

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
