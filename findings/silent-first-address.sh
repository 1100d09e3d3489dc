#!/usr/bin/env bash
# A first address that drops packets delays a channel by 250 ms with pick_first, and not at all with round_robin.
#
# Versions: grpcio 1.85.1; seen 2026-11-29. Linux (a full accept queue drops SYN packets there).
#
# Older descriptions of pick_first say that it tries one address after the other, 20 s each. It has Happy Eyeballs as RFC
# 8305 describes them for browsers with a dead IPv6: the next address is tried after 250 ms, here of the same family. Here
# the first of two addresses is a listening socket whose queue is full, so that its SYNs stay unanswered as with a dead
# route. round_robin connects to all addresses at once, and a call needs the first one that is ready.
#
# Prints the seconds until a call is answered, by policy.
#
# Seen:
#     seconds with pick_first: 0.26
#     seconds with round_robin: 0.0
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio)=="

GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" <<'PYTHON'
import asyncio
import os
import socket
import sys
import time
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


async def main() -> None:
    async def respond(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return b""

    server = await serve({"Call": grpc.unary_unary_rpc_method_handler(respond)})
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        filling = []
        for _ in range(4):
            filling.append(socket.socket())
            filling[-1].setblocking(False)
            filling[-1].connect_ex(silent.getsockname())
        await asyncio.sleep(0.2)
        target = f"ipv4:127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{server.port}"
        for policy in ("pick_first", "round_robin"):
            options = [("grpc.service_config", f'{{"loadBalancingConfig": [{{"{policy}": {{}}}}]}}')]
            async with grpc.aio.insecure_channel(target, options) as channel:
                began = time.monotonic()
                await channel.unary_unary("/test/Call")(b"", wait_for_ready=True, timeout=60)
                seconds = time.monotonic() - began
            low, high = (0.2, 1.5) if policy == "pick_first" else (0, 0.2)
            expect(f"seconds with {policy}", round(seconds, 2), low <= seconds < high)
        for each in filling:
            each.close()
    await server.stop(0)


asyncio.run(main())
PYTHON
