#!/usr/bin/env bash
# server.stop(grace) of grpc.aio ends calls that have arrived, but whose handler has not begun, with CANCELLED.
#
# Versions: grpcio 1.85.1; seen 2026-11-30.
#
# A grace period is for calls that run, and what comes later is refused with UNAVAILABLE, which clients retry. In between
# are calls that have reached the server, but that its event loop has not fetched yet: hundreds when clients send bursts
# or handlers compute. stop() ends these at once, with the code of a call that its client has cancelled, and with no text
# but "CANCELLED". Retry policies list UNAVAILABLE, and many programs take CANCELLED for their own doing and neither retry
# nor log it. So a rolling restart loses calls although there is time for them. They can be sent again, as no handler has
# seen them. It does not happen when clients leave first: report NOT_SERVING, wait, and then stop().
#
# A client sends 200 calls at once to a server in another process, whose handlers compute for 2 ms, and which stops with a
# grace of 5 s when the first one is answered. Prints how the calls ended, and how many handlers had begun.
#
# Seen:
#     calls: OK 2, CANCELLED 198
#     handlers that ran: 2
#     with a retry policy for UNAVAILABLE: OK 2, CANCELLED 198
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio)=="

cat >"$folder/server.py" <<'PYTHON'
import asyncio
import sys
import time

import grpc


async def main() -> None:
    handled = 0

    async def respond(request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        nonlocal handled
        handled += 1
        # What a handler computes.
        time.sleep(0.002)
        return request

    server = grpc.aio.server()
    handlers = {"Call": grpc.unary_unary_rpc_method_handler(respond)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, told.set)
    await told.wait()
    asyncio.get_running_loop().remove_reader(sys.stdin)
    await server.stop(5)
    print(handled, flush=True)


asyncio.run(main())
PYTHON

GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" <<'PYTHON'
import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grpc


def expect(what: str, seen: object, holds: object) -> None:
    """Print what was seen; exit with 1 if the finding does not hold any more."""
    print(f"{what}: {seen}", flush=True)
    if not holds:
        print("this is not the behaviour that the finding describes", file=sys.stderr, flush=True)
        # gRPC's threads may keep an interpreter from ending while calls are open.
        os._exit(1)


CALLS = 200
POLICY = {
    "name": [{}],
    "retryPolicy": {
        "maxAttempts": 3,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    },
}


async def codes_at_stop(*method_configs: object) -> tuple[Counter[str], int]:
    """Return how calls end that are sent just before a server stops, and how many of them reached a handler."""
    program = [sys.executable, "-s", str(Path(sys.argv[1]) / "server.py")]
    server = await asyncio.create_subprocess_exec(*program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        port = int(await server.stdout.readline())
        options = [("grpc.service_config", json.dumps({"methodConfig": method_configs}))]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            call = channel.unary_unary("/test/Call")
            await call(b"", wait_for_ready=True, timeout=20)
            calls = [call(b"", timeout=20) for _ in range(CALLS)]
            await asyncio.wait([asyncio.ensure_future(each.code()) for each in calls], return_when="FIRST_COMPLETED")
            server.stdin.write(b"stop\n")
            codes = Counter([(await each.code()).name for each in calls])
        # The first call, before these, reached a handler as well.
        return codes, int(await server.stdout.readline()) - 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()
        await server.wait()


async def main() -> None:
    codes, handled = await codes_at_stop()
    seen = ", ".join(f"{name} {number}" for name, number in sorted(codes.items(), reverse=True))
    expect("calls", seen, codes["CANCELLED"] >= 10)
    expect("handlers that ran", handled, handled == codes["OK"])
    codes, handled = await codes_at_stop(POLICY)
    seen = ", ".join(f"{name} {number}" for name, number in sorted(codes.items(), reverse=True))
    expect("with a retry policy for UNAVAILABLE", seen, codes["CANCELLED"] >= 10)


asyncio.run(main())
PYTHON
