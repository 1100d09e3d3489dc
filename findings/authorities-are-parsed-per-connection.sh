#!/usr/bin/env bash
# A client that trusts the usual 120 authorities parses all of them for each connection.
#
# Versions: grpcio 1.85.1, certifi 2026.7.22, trustme 1.2.1; seen 2026-11-29.
#
# A channel needs one authority, its own, and gets the bundle of public ones beside it, as with default credentials.
# gRPC builds a TLS context for each channel and reads the whole bundle into it: most of the CPU that a connection
# takes. One credentials object for all channels does not change it. Python's ssl reads the bundle once, into a context
# that all connections use. Where a program opens many channels, or one for each replica, it names the one authority
# that it needs.
#
# Prints the milliseconds of CPU of a channel and its first call, client and server together, and of one more connection
# with Python's ssl.
#
# Seen:
#     authorities: 122
#     ms of CPU: grpc, one 2.1, ssl, one 1.9, grpc, all 6.2, ssl, all 1.8
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" trustme==1.2.1 \
  certifi==2026.7.22 || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio|trustme|certifi)=="

GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" <<'PYTHON'
import asyncio
import os
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median

import certifi
import grpc
import trustme


def expect(what: str, seen: object, holds: object) -> None:
    """Print what was seen; exit with 1 if the finding does not hold any more."""
    print(f"{what}: {seen}", flush=True)
    if not holds:
        print("this is not the behaviour that the finding describes", file=sys.stderr, flush=True)
        # gRPC's threads may keep an interpreter from ending while calls are open.
        os._exit(1)


CHANNELS = 20
ROUNDS = 5


async def main() -> None:
    async def respond(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return b""

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    chain = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    server = grpc.aio.server()
    handlers = {"Call": grpc.unary_unary_rpc_method_handler(respond)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([chain]))
    await server.start()

    one = authority.cert_pem.bytes()
    bundle = one + b"\n" + Path(certifi.where()).read_bytes()
    print("authorities:", bundle.count(b"BEGIN CERTIFICATE"))

    async def with_grpc(credentials: grpc.ChannelCredentials) -> None:
        options = [("grpc.ssl_target_name_override", "localhost")]
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            await channel.unary_unary("/test/Call")(b"", timeout=20)

    async def with_ssl(context: ssl.SSLContext) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        writer.close()

    async def cpu_ms(connect: Callable[[], Awaitable[None]]) -> float:
        began = time.process_time()
        for _ in range(CHANNELS):
            await connect()
        return 1_000 * (time.process_time() - began) / CHANNELS

    ways: dict[str, Callable[[], Awaitable[None]]] = {}
    for name, pem in (("one", one), ("all", bundle)):
        context = ssl.create_default_context(cadata=pem.decode())
        context.set_alpn_protocols(["h2"])
        ways[f"grpc, {name}"] = partial(with_grpc, grpc.ssl_channel_credentials(pem))
        ways[f"ssl, {name}"] = partial(with_ssl, context)
    rounds = [{name: await cpu_ms(way) for name, way in ways.items()} for _ in range(ROUNDS)]
    ms = {name: median(each[name] for each in rounds) for name in ways}
    seen = ", ".join(f"{name} {value:.1f}" for name, value in ms.items())
    expect("ms of CPU", seen, ms["grpc, all"] > 1.5 * ms["grpc, one"] and ms["ssl, all"] < 1.5 * ms["ssl, one"])
    await server.stop(0)


asyncio.run(main())
PYTHON
