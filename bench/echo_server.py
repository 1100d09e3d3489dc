"""A gRPC server with as little in it as there can be: `python -m bench.echo_server PORT` sends back what it is sent."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

SERVICE, METHOD = "bench.Echo", "Echo"


async def _echo(requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server()
    handler: Any = grpc.stream_stream_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
