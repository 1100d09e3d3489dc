#!/usr/bin/env bash
# healthCheckConfig: a server without health service is used, one whose service has another name never is.
#
# Versions: grpcio 1.85.1, grpcio-health-checking 1.85.1; seen 2026-11-29.
#
# With round_robin and a healthCheckConfig a channel watches each server's health. Three servers, all of which answer
# calls:
#   1. without the health service at all: the channel uses it as if it were healthy;
#   2. with the health service, and the name unknown to it (a misspelt name in either): it is never used;
#   3. NOT_SERVING from the first look on: the same. In 2 and 3 a call without wait_for_ready ends at once, as if there
#      were no server. So taking the health service off is harmless, and renaming a service stops all of its clients.
#
# Prints how a call ends, and after how many seconds.
#
# Seen:
#     no health service: ('OK', 0.04)
#     SERVING: ('OK', 0.01)
#     name unknown: ('UNAVAILABLE: connections to all backends failing; last error: ipv4:127.0.0.1:PORT: backend
#         unhealthy', 0.0)
#     NOT_SERVING: ('UNAVAILABLE: connections to all backends failing; last error: ipv4:127.0.0.1:PORT: backend
#         unhealthy', 0.01)
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" "grpcio-health-checking==${GRPCIO:-1.85.1}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio|grpcio-health-checking)=="

GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" <<'PYTHON'
import asyncio
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
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


CONFIG = '{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": "watched"}}'


async def ends(statuses: dict[str, Any] | None) -> tuple[str, float]:
    async def respond(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return b""

    server = await serve({"Call": grpc.unary_unary_rpc_method_handler(respond)})
    if statuses is not None:
        # A started server takes no more services, so there is a second one.
        await server.stop(0)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test", {"Call": grpc.unary_unary_rpc_method_handler(respond)}),)
        )
        servicer = health.aio.HealthServicer()
        for name, status in statuses.items():
            await servicer.set(name, status)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        server.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
    began = time.monotonic()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.service_config", CONFIG)]) as channel:
        try:
            await channel.unary_unary("/test/Call")(b"", timeout=3)
            end = "OK"
        except grpc.aio.AioRpcError as error:
            end = f"{error.code().name}: {error.details()}"
    await server.stop(0)
    return end, round(time.monotonic() - began, 2)


async def main() -> None:
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    seen = await ends(None)
    expect("no health service", seen, seen[0] == "OK")
    seen = await ends({"watched": serving})
    expect("SERVING", seen, seen[0] == "OK")
    seen = await ends({"": serving, "wached": serving})
    expect("name unknown", seen, seen[0].startswith("UNAVAILABLE") and seen[1] < 2)
    seen = await ends({"watched": not_serving})
    expect("NOT_SERVING", seen, seen[0].startswith("UNAVAILABLE") and seen[1] < 2)


asyncio.run(main())
PYTHON
