#!/usr/bin/env bash
# A retry policy does not apply to requests of 256 KiB and more, and a hedging policy to none.
#
# Versions: grpcio 1.85.1, grpc.aio; seen 2026-11-29.
#
# The service config of a channel says that a call which ends with UNAVAILABLE is sent up to three times. What can be
# sent again must be kept, and grpc.per_rpc_retry_buffer_size says how much: 256 KiB. A larger request is sent once, and
# its first UNAVAILABLE is the result, with nothing in the status, the log or the config that says so; a request of the
# same method that is a little smaller is retried. A larger buffer is a channel argument. A hedgingPolicy, which the
# format of service configs defines beside it, is accepted and has no effect in gRPC's C core: one attempt.
#
# Prints how many attempts the server saw, by what was sent.
#
# Seen:
#     attempts for 250 KiB: 3
#     attempts for 256 KiB: 1
#     attempts for 256 KiB with a buffer of 1 MiB: 3
#     attempts with a hedging policy: 1
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio)=="

GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" <<'PYTHON'
import asyncio
import json
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


NAME = {"name": [{}]}
RETRY = {"maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.1s", "backoffMultiplier": 2}
HEDGE = {"maxAttempts": 3, "hedgingDelay": "0.05s", "nonFatalStatusCodes": ["UNAVAILABLE"]}


async def main() -> None:
    attempts = 0

    async def fail(_request: bytes, context: grpc.aio.ServicerContext) -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0.3)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "try again")

    server = await serve({"Fail": grpc.unary_unary_rpc_method_handler(fail)})

    async def count(size_kib: int, policy: dict[str, Any], options: Iterable[tuple[str, Any]] = ()) -> int:
        nonlocal attempts
        attempts = 0
        config = json.dumps({"methodConfig": [{**NAME, **policy}]})
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.service_config", config), *options])
        async with channel:
            try:
                await channel.unary_unary("/test/Fail")(bytes(size_kib * 1_024), timeout=30)
            except grpc.aio.AioRpcError as error:
                expect("status", error.code().name, error.code() is grpc.StatusCode.UNAVAILABLE)
        return attempts

    retry = {"retryPolicy": {**RETRY, "retryableStatusCodes": ["UNAVAILABLE"]}}
    expect("attempts for 250 KiB", seen := await count(250, retry), seen == 3)
    expect("attempts for 256 KiB", seen := await count(256, retry), seen == 1)
    buffer = [("grpc.per_rpc_retry_buffer_size", 1 << 20)]
    expect("attempts for 256 KiB with a buffer of 1 MiB", seen := await count(256, retry, buffer), seen == 3)
    expect("attempts with a hedging policy", seen := await count(0, {"hedgingPolicy": HEDGE}), seen == 1)
    await server.stop(0)


asyncio.run(main())
PYTHON
