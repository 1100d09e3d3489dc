"""Batches of one hash, one in flight, beside messages that two servers echo one after the other: gRPC's own time."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc

from bench import progress
from bench.bound import AtLeast, Bound
from bench.echo_server import METHOD, SERVICE
from bench.processes import free_port, process, wait_until_listening
from bench.spread import Spread
from bench.system import servers
from bench.turn import take_turn
from chassis import grpc_options

MESSAGE = bytes(32)

WARM_UP = 0.5

LEAST_OF_ECHOES = 0.8

Run = tuple[float, float]
"""Round trips a second through rng and hasher, and through two echo servers."""


async def _echoes(ports: Sequence[int], seconds: float) -> float:
    """Times a second that a message goes through all servers, one after the other."""
    async with contextlib.AsyncExitStack() as stack:
        streams: list[grpc.aio.StreamStreamCall[bytes, bytes]] = []
        for port in ports:
            opening = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=grpc_options.DIRECT)
            channel = await stack.enter_async_context(opening)
            streams.append(channel.stream_stream(f"/{SERVICE}/{METHOD}")())
        for length in (WARM_UP, seconds):
            trips = 0
            began = time.perf_counter()
            while (elapsed := time.perf_counter() - began) < length:
                for stream in streams:
                    await stream.write(MESSAGE)
                    await stream.read()
                trips += 1
        return trips / elapsed


@contextlib.contextmanager
def _echo_servers(folder: Path) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        ports = []
        for name in ("echo-1", "echo-2"):
            port = free_port()
            command = [sys.executable, "-m", "bench.echo_server", f"{port}"]
            server = stack.enter_context(process(command, {}, folder / f"{name}.log"))
            wait_until_listening(server, "127.0.0.1", port, folder)
            ports.append(port)
        yield ports


def measure(repeats: int, seconds: float, folder: Path) -> list[Run]:
    """Both in turn. Raises BenchError when a service does not do its work."""
    runs = []
    settings = {"BATCH_SIZE": "1", "WINDOW_SIZE": "1"}
    with _echo_servers(folder) as ports, servers(folder, {"PACE": "full"}) as running:
        for number in range(repeats):
            progress.show(f"batch 1 beside echoes: {number + 1} of {repeats}")
            runs.append((take_turn(running, settings, seconds).speed, asyncio.run(_echoes(ports, seconds))))
    progress.show("")
    return runs


def _ratio(runs: list[Run]) -> Spread:
    return Spread([pipeline / echoes for pipeline, echoes in runs])


def lines(runs: list[Run]) -> Iterator[str]:
    """The table."""
    pipeline, echoes = (Spread(column) for column in zip(*runs, strict=True))
    yield "Batch 1, one in flight, beside two bare grpc.aio echo streams in a row: round trips a second"
    yield f"{'pipeline':>22} {'echoes':>22} {'ratio':>22}"
    yield f"{pipeline!s:>22} {echoes!s:>22} {_ratio(runs)!s:>22}"


def bounds(runs: list[Run]) -> list[Bound]:
    """What it is held to."""
    ratio = _ratio(runs)
    return [AtLeast("batch 1, one in flight, of two echoes", ratio.median, LEAST_OF_ECHOES, ratio.noise)]
