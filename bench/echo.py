"""A baseline for batches of one hash: messages that two bare grpc.aio servers echo one after the other.

`python -m bench.echo PORT` is such a server.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
from support.free_port import free_port

from bench.figures import Bound, Report, Spread, table
from bench.processes import process, show, wait_until_listening
from bench.system import HOST, servers
from chassis import grpc_options

SERVICE, METHOD = "bench.Echo", "Echo"
WARM_UP_S = 0.5

# The speed of the pipeline, times that of the echoes.
MIN_SPEED = 0.8


def echo(arguments: argparse.Namespace, folder: Path) -> Report:
    """Compare the speed of the pipeline, with one batch of one hash in flight, with that of two echoes in a row."""
    pipeline, echoes = [], []
    with _echo_servers(folder) as ports, servers(folder, {"PACE": "full"}) as running:
        for number in range(arguments.repeats):
            show(f"batch 1 and echoes: {number + 1} of {arguments.repeats}")
            pipeline.append(running.mine({"BATCH_SIZE": "1", "WINDOW_SIZE": "1"}, arguments.seconds).speed)
            echoes.append(asyncio.run(_round_trips(ports, arguments.seconds)))
    show("")
    ratio = Spread([this / that for this, that in zip(pipeline, echoes, strict=True)])
    title = "Batch 1, one in flight, and a baseline of two bare grpc.aio echo streams in a row: round trips per second"
    row = [str(Spread(pipeline)), str(Spread(echoes)), str(ratio)]
    bound = Bound("batch 1, one in flight, vs. baseline", ratio, ">=", MIN_SPEED)
    return table(title, ["pipeline", "baseline", "vs. baseline"], [row]), [bound]


async def _round_trips(ports: Sequence[int], seconds: float) -> float:
    """Return how often per second a message goes through all servers, one after the other."""
    async with contextlib.AsyncExitStack() as stack:
        streams: list[grpc.aio.StreamStreamCall[bytes, bytes]] = []
        for port in ports:
            opening = grpc.aio.insecure_channel(f"{HOST}:{port}", options=grpc_options.DIRECT)
            channel = await stack.enter_async_context(opening)
            streams.append(channel.stream_stream(f"/{SERVICE}/{METHOD}")())
        for length in (WARM_UP_S, seconds):
            trips = 0
            began = time.perf_counter()
            while (elapsed := time.perf_counter() - began) < length:
                for stream in streams:
                    await stream.write(bytes(32))
                    await stream.read()
                trips += 1
        return trips / elapsed


@contextlib.contextmanager
def _echo_servers(folder: Path) -> Iterator[list[int]]:
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with contextlib.ExitStack() as stack:
        ports = [free_port(), free_port()]
        for port in ports:
            command = [sys.executable, "-m", "bench.echo", f"{port}"]
            server = stack.enter_context(process(command, environment, folder / f"echo-{port}.log"))
            wait_until_listening(server, HOST, port, folder)
        yield ports


async def _serve(port: int) -> None:
    server = grpc.aio.server()
    handler: Any = grpc.stream_stream_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    await server.wait_for_termination()


async def _echo(requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
