#!/usr/bin/env bash
# A time limit on one read() ends the whole stream: a client cancels it, and a handler reads EOF from then on.
#
# Versions: grpcio 1.85.1, grpc.aio, CPython 3.11; seen 2026-11-30.
#
# A program waits for the next message with asyncio.wait_for(call.read(), 0.2), to do something else when none has come.
# With a queue or an asyncio stream that is harmless.
#   1. On a client the time limit cancels the call: the stream is CANCELLED, and the handler, too.
#   2. In a handler the stream lives on, but each further read() returns EOF at once, as if the client had ended its side,
#      while it goes on sending. A handler that reads until EOF returns, the call ends with OK, and what the client
#      sent is lost without an error on the server.
# Both hold for asyncio.timeout() and for anything else that cancels the reading task. asyncio.wait() with a timeout does
# not: the task goes on, and its message is fetched later. So let one task read to the end, and pass messages on through
# a queue.
#
# Prints how the client's call ended, what the handler read after the time limit, how that call ended, and what
# asyncio.wait() changes.
#
# Seen:
#     client, after the time limit: CANCELLED
#     client, with asyncio.wait(): b'late'
#     handler, after the time limit: EOF, while the client has not ended its side
#     handler, with asyncio.wait(): b'message'
#     the client learns: OK
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
from collections.abc import AsyncIterator, Iterable
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
    client_may_go_on = asyncio.Event()
    read: dict[str, object] = {}

    async def echo_late(requests: AsyncIterator[bytes], _context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        async for request in requests:
            await asyncio.sleep(1)
            yield request

    async def with_wait_for(_requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        try:
            await asyncio.wait_for(context.read(), 0.2)
        except asyncio.TimeoutError:
            read["wait_for"] = await context.read()
        client_may_go_on.set()

    async def with_wait(_requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        reading = asyncio.ensure_future(context.read())
        await asyncio.wait([reading], timeout=0.2)
        client_may_go_on.set()
        read["wait"] = await reading

    names = {"EchoLate": echo_late, "WithWaitFor": with_wait_for, "WithWait": with_wait}
    server = await serve({name: grpc.stream_stream_rpc_method_handler(each) for name, each in names.items()})
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.stream_stream("/test/EchoLate")(timeout=20)
        await call.write(b"late")
        try:
            await asyncio.wait_for(call.read(), 0.2)
        except asyncio.TimeoutError:
            code = await call.code()
        expect("client, after the time limit", code.name, code is grpc.StatusCode.CANCELLED)

        call = channel.stream_stream("/test/EchoLate")(timeout=20)
        await call.write(b"late")
        reading = asyncio.ensure_future(call.read())
        await asyncio.wait([reading], timeout=0.2)
        message = await reading
        expect("client, with asyncio.wait()", message, message == b"late")
        call.cancel()

        call = channel.stream_stream("/test/WithWaitFor")(timeout=20)
        await client_may_go_on.wait()
        is_end = read["wait_for"] is grpc.aio.EOF
        seen = "EOF, while the client has not ended its side" if is_end else read["wait_for"]
        expect("handler, after the time limit", seen, is_end)
        ended_with = await call.code()

        client_may_go_on.clear()
        call = channel.stream_stream("/test/WithWait")(timeout=20)
        await client_may_go_on.wait()
        await call.write(b"message")
        await call.code()
        expect("handler, with asyncio.wait()", read["wait"], read["wait"] == b"message")
        expect("the client learns", ended_with.name, ended_with is grpc.StatusCode.OK)
    await server.stop(0)


asyncio.run(main())
PYTHON
