#!/usr/bin/env python3
"""grpc.aio reports a connection that is lost during write() as INTERNAL, "Internal error from Core", not UNAVAILABLE.

Versions: grpcio 1.85.1; seen 2026-11-29.

A connection drops while a client of a two-way stream writes and waits for no response. A unary call that loses its
connection ends with UNAVAILABLE, the code that means "try again". write() raises INTERNAL instead, on which no policy
retries, and the call's own code() is INTERNAL, too. A client that writes and retries by code has to retry these words
as well, or it takes a lost connection for a defect.

Prints the code and words of the exception, and the call's own code.
"""

import asyncio

from support import expect, run_with, serve

run_with("grpcio==1.85.1")

import grpc


async def main() -> None:
    async def swallow(_requests: object, context: grpc.aio.ServicerContext) -> None:
        await context.send_initial_metadata(())
        while await context.read() is not grpc.aio.EOF:
            pass

    async def wait(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        await asyncio.sleep(60)
        return b""

    handlers = {
        "Stream": grpc.stream_stream_rpc_method_handler(swallow),
        "Wait": grpc.unary_unary_rpc_method_handler(wait),
    }
    server = await serve(handlers)
    sides: list[asyncio.StreamWriter] = []

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", server.port)
        sides.extend((writer, there_writer))

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                sink.write(data)

        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer), return_exceptions=True)

    proxy = await asyncio.start_server(forward, "127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}") as channel:
        call = channel.stream_stream("/test/Stream")()

        async def write() -> str:
            try:
                while True:
                    await call.write(bytes(1_000))
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}"

        writing = asyncio.create_task(write())
        await asyncio.sleep(1)
        for side in sides:
            side.transport.abort()
        words = await asyncio.wait_for(writing, 30)
        code = (await call.code()).name
        expect("write() raised", words, words.startswith("INTERNAL: Internal error from Core"))
        expect("code()", code, code == "INTERNAL")
        sides.clear()
        unary = channel.unary_unary("/test/Wait")(b"", wait_for_ready=True)
        while not sides:
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        for side in sides:
            side.transport.abort()
        code = (await unary.code()).name
    expect("code() of a unary call", code, code == "UNAVAILABLE")
    proxy.close()
    await server.stop(0)


asyncio.run(main())
