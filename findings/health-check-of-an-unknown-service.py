#!/usr/bin/env python3
"""healthCheckConfig: a server without health service is used, one whose service has another name never is.

Versions: grpcio 1.85.1, grpcio-health-checking 1.85.1; seen 2026-11-29.

With round_robin and a healthCheckConfig a channel watches each server's health. Three servers, all of which answer
calls:
  1. without the health service at all: the channel uses it as if it were healthy;
  2. with the health service, and the name unknown to it (a misspelt name in either): it is never used;
  3. NOT_SERVING from the first look on: the same. In 2 and 3 a call without wait_for_ready ends at once, as if there
     were no server. So taking the health service off is harmless, and renaming a service stops all of its clients.

Prints how a call ends, and after how many seconds.
"""

import asyncio
import time
from typing import Any

from support import expect, run_with, serve

run_with("grpcio==1.85.1", "grpcio-health-checking==1.85.1")

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

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
