#!/usr/bin/env bash
# A server's max_connection_age ends the long streams of grpclib, whatever its grace; those of grpcio and grpc-js go on.
#
# Versions: grpcio 1.85.1, grpclib 0.4.9, @grpc/grpc-js 1.14.7 on Node.js 20; seen 2026-11-29. Needs node and npm,
# otherwise this exits with 2.
#
# A server has grpc.max_connection_age_ms 2000, so that clients reconnect and find new replicas, and no limit on how
# long calls that run may take (the default of the grace). Three clients read a stream for six seconds, and make other
# calls. With grpcio and grpc-js the stream goes on over the old connection, and other calls take a new one. grpclib
# closes the connection when the server announces its end (GOAWAY), and with it all calls on it: after two seconds the
# stream ends with "Connection lost", an error that is no GRPCError and has no status, so that code which retries by
# status does not see it. The same happens when such a server stops gracefully. A stream of grpclib has to be opened
# again after any exception.
#
# Prints after how many seconds each client's stream ended, and how.
#
# Seen:
#     grpcio: 6.0 s, CANCELLED by the client itself
#     grpc-js: 6.1 s, CANCELLED by the client itself
#     grpclib: 2.1 s, StreamTerminatedError: Connection lost
set -euo pipefail

for program in node npm; do
  command -v "$program" >/dev/null || { echo "needs $program" >&2; exit 2; }
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" grpclib==0.4.9 || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio|grpclib)=="
npm install --prefix "$folder" --silent --no-audit --no-fund --ignore-scripts @grpc/grpc-js@1.14.7 >/dev/null || exit 2
node -p "'@grpc/grpc-js ' + require('$folder/node_modules/@grpc/grpc-js/package.json').version"

cat >"$folder/main.py" <<'PYTHON'
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import grpclib.client
import grpclib.encoding.base
from grpclib.const import Cardinality


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


MAX_AGE_S = 2
READING_S = 6
NODE = """
const grpc = require("@grpc/grpc-js");
const same = (bytes) => bytes;
const client = new grpc.Client(process.argv[2], grpc.credentials.createInsecure());
const stream = client.makeServerStreamRequest("/test/Stream", same, same, Buffer.alloc(0));
const began = Date.now();
setTimeout(() => stream.cancel(), 1000 * process.argv[3]);
stream.on("data", () => {});
stream.on("error", (error) => {
  console.log((Date.now() - began) / 1000, grpc.status[error.code]);
  process.exit();
});
"""


async def read_with_grpcio(port: int) -> tuple[float, str]:
    began = time.monotonic()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream("/test/Stream")(b"")
        asyncio.get_running_loop().call_later(READING_S, call.cancel)
        code = await call.code()
        return time.monotonic() - began, code.name


async def read_with_grpc_js(port: int, folder: str) -> tuple[float, str]:
    path = Path(folder, "client.js")
    path.write_text(NODE)
    node = await asyncio.create_subprocess_exec("node", path, f"127.0.0.1:{port}", str(READING_S), stdout=-1)
    output, _ = await node.communicate()
    seconds, code = output.decode().split()
    return float(seconds), code


class Bytes(grpclib.encoding.base.CodecBase):
    """Messages are bytes."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: object) -> bytes:
        return message

    def decode(self, data: bytes, message_type: object) -> bytes:
        return data


async def read_with_grpclib(port: int) -> tuple[float, str]:
    began = time.monotonic()
    channel = grpclib.client.Channel("127.0.0.1", port, codec=Bytes())
    try:
        async with asyncio.timeout(READING_S):
            async with channel.request("/test/Stream", Cardinality.UNARY_STREAM, bytes, bytes) as stream:
                await stream.send_message(b"", end=True)
                async for _ in stream:
                    pass
        end = "OK"
    except TimeoutError:
        end = "CANCELLED"
    except Exception as error:
        end = f"{type(error).__name__}: {error}"
    finally:
        channel.close()
    return time.monotonic() - began, end


async def main() -> None:
    async def stream(_request: bytes, _context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        while True:
            yield b""
            await asyncio.sleep(0.2)

    handlers = {"Stream": grpc.unary_stream_rpc_method_handler(stream)}
    server = await serve(handlers, [("grpc.max_connection_age_ms", MAX_AGE_S * 1_000)])
    ends = await asyncio.gather(
        read_with_grpcio(server.port), read_with_grpc_js(server.port, sys.argv[1]), read_with_grpclib(server.port)
    )
    for client, (seconds, end) in zip(("grpcio", "grpc-js", "grpclib"), ends, strict=True):
        wanted = "StreamTerminatedError" if client == "grpclib" else "CANCELLED"
        at_end = seconds >= READING_S - 0.5
        expect(client, f"{seconds:.1f} s, {end}", end.startswith(wanted) and at_end == (client != "grpclib"))
    await server.stop(0)


asyncio.run(main())
PYTHON
GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s "$folder/main.py" "$folder"
