#!/usr/bin/env bash
# A client interceptor on streams adds a task to each write(), even one that does nothing; with a generator it is free.
#
# Versions: grpcio 1.85.1, grpc.aio; seen 2026-11-30.
#
# A StreamStreamClientInterceptor that hands everything on is called once, when the stream begins. One would expect that a
# stream of many messages does not feel it. But grpc.aio has to let a program write before the interceptors have returned
# a call: it puts each message into a queue of its own, with a new task for each write(), and sends what a generator reads
# from there. Further interceptors add nothing. A stream whose messages come from a generator in the first place costs no
# more than without. So a client that adds metadata to long streams does it where it opens them, or gives them a generator.
#
# Prints the tasks made for each message of 64 bytes, and the microseconds of CPU for one there and back, client and
# server together, without interceptor, with one and with five.
#
# Seen:
#     tasks a message, write(): none 0.0, one 1.0, five 1.0
#     tasks a message, generator: none 0.0, one 0.0, five 0.0
#     us of CPU, write(): none 123, one 161, five 161
#     us of CPU, generator: none 128, one 132, five 138
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
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from statistics import median
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


MESSAGES = 500
ROUNDS = 9
INTERCEPTORS = {"none": 0, "one": 1, "five": 5}

tasks = 0


def count_task(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **arguments: Any) -> Any:
    global tasks
    tasks += 1
    return asyncio.Task(coroutine, loop=loop, **arguments)


class HandOn(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(details, requests)


async def with_write(method: Any) -> None:
    call = method()
    for _ in range(MESSAGES):
        await call.write(bytes(64))
        await call.read()
    await call.done_writing()
    await call.code()


async def with_generator(method: Any) -> None:
    answered = asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        for _ in range(MESSAGES):
            yield bytes(64)
            await answered.wait()
            answered.clear()

    async for _ in method(requests()):
        answered.set()


async def main() -> None:
    async def echo(requests: AsyncIterator[bytes], _context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    server = await serve({"Echo": grpc.stream_stream_rpc_method_handler(echo)})
    address = f"127.0.0.1:{server.port}"
    channels = {
        name: grpc.aio.insecure_channel(address, interceptors=[HandOn()] * number)
        for name, number in INTERCEPTORS.items()
    }
    methods = {name: channel.stream_stream("/test/Echo") for name, channel in channels.items()}
    asyncio.get_running_loop().set_task_factory(count_task)

    async def measure(use: Callable[[Any], Awaitable[None]], method: Any) -> tuple[float, float]:
        began, before = time.process_time(), tasks
        await use(method)
        return (tasks - before) / MESSAGES, 1e6 * (time.process_time() - began) / MESSAGES

    lines = []
    for what, use in (("write()", with_write), ("generator", with_generator)):
        rounds = [{name: await measure(use, method) for name, method in methods.items()} for _ in range(ROUNDS)]
        made = {name: round(median(each[name][0] for each in rounds), 1) for name in methods}
        cpu = {name: median(each[name][1] for each in rounds) for name in methods}
        seen = ", ".join(f"{name} {value}" for name, value in made.items())
        each = 1 if use is with_write else 0
        expect(f"tasks a message, {what}", seen, made == {"none": 0, "one": each, "five": each})
        lines.append(f"us of CPU, {what}: " + ", ".join(f"{name} {value:.0f}" for name, value in cpu.items()))
    print(*lines, sep="\n")
    await asyncio.gather(*(channel.close() for channel in channels.values()))
    await server.stop(0)


asyncio.run(main())
PYTHON
