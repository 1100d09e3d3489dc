#!/usr/bin/env bash
# gRPC's channels do a full TLS handshake for each connection: they resume no session, whatever the server offers.
#
# Versions: grpcio 1.85.1, trustme 1.2.1, the server is Python's ssl with TLS 1.3; seen 2026-11-29.
#
# A TLS 1.3 server sends tickets with which a client saves the certificates and signatures of its next handshake. Browsers
# and most HTTP clients use them. A channel that reconnects does not, nor does the next channel of the process. So
# whatever opens connections often (short-lived channels, a server's max_connection_age, a restart under a thousand
# clients) pays a full handshake each time, and a server's session cache or shared ticket keys change nothing for gRPC.
#
# Prints whether each connection resumed a session: four of gRPC's, and two of Python's ssl for comparison.
#
# Seen:
#     gRPC: [False, False, False, False]
#     Python's ssl: [False, True]
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" trustme==1.2.1 || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio|trustme)=="

GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" <<'PYTHON'
import asyncio
import os
import socket
import ssl
import sys

import grpc
import trustme


def expect(what: str, seen: object, holds: object) -> None:
    """Print what was seen; exit with 1 if the finding does not hold any more."""
    print(f"{what}: {seen}", flush=True)
    if not holds:
        print("this is not the behaviour that the finding describes", file=sys.stderr, flush=True)
        # gRPC's threads may keep an interpreter from ending while calls are open.
        os._exit(1)


EMPTY_SETTINGS = b"\0\0\0\4\0\0\0\0\0"


async def main() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2"])
    resumed: list[bool] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        resumed.append(writer.get_extra_info("ssl_object").session_reused)
        writer.write(EMPTY_SETTINGS)
        await reader.read(65_536)
        await asyncio.sleep(0.2)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())

    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        while len(resumed) < 2:  # the server closes the connection, and the channel connects again
            channel.get_state(try_to_connect=True)
            await asyncio.sleep(0.05)
    for _ in range(2):
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            await asyncio.wait_for(channel.channel_ready(), 20)
            await asyncio.sleep(0.3)
    of_grpc = resumed.copy()
    resumed.clear()

    client = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())

    def connect(session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            client.wrap_socket(plain, server_hostname="localhost", session=session) as connection,
        ):
            connection.recv(len(EMPTY_SETTINGS))
            connection.sendall(b"x")
            return connection.session

    session = await asyncio.to_thread(connect, None)
    await asyncio.to_thread(connect, session)
    expect("gRPC", of_grpc, len(of_grpc) >= 4 and not any(of_grpc))
    expect("Python's ssl", resumed, resumed == [False, True])
    server.close()


asyncio.run(main())
PYTHON
