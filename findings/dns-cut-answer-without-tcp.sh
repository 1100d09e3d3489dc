#!/usr/bin/env bash
# gRPC uses none of the 30 addresses of a DNS answer that was cut off, if TCP to the name server is closed.
#
# Versions: grpcio 1.85.1, its own c-ares, dnspython 2.9.2 as the name server; seen 2026-11-29.
#
# Forty replicas of one name are 40 addresses, and without EDNS an answer over UDP is at most 512 bytes. The name server
# does what Docker's does: it sends the 30 addresses that fit, with the truncation mark. A client should then use TCP.
#   1. c-ares in grpcio sends no EDNS record, which would have made room for 4,096 bytes.
#   2. It asks again over TCP. Where a firewall or the name server refuses that, the 30 addresses that it has are dropped,
#      and the channel is in TRANSIENT_FAILURE as if the name did not exist: everything fails at the 31st replica.
#   3. Where TCP works, all 40 are used.
#
# Prints the EDNS version of the queries (-1 is none) and how calls end.
#
# Seen:
#     without TCP: UNAVAILABLE: errors resolving replicas.test:PORT: [field:hostname lookup error:address lookup
#         failed for replicas.test:PORT: DNS server returned answer with no data]
#     EDNS version: {-1}
#     with TCP: OK
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" dnspython==2.9.2 || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio|dnspython)=="

GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" <<'PYTHON'
import asyncio
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import grpc


def expect(what: str, seen: object, holds: object) -> None:
    """Print what was seen; exit with 1 if the finding does not hold any more."""
    print(f"{what}: {seen}", flush=True)
    if not holds:
        print("this is not the behaviour that the finding describes", file=sys.stderr, flush=True)
        # gRPC's threads may keep an interpreter from ending while calls are open.
        os._exit(1)


async def name_server(
    answer: Callable[[Any], Any], port: int = 0, address: str = "127.0.0.1"
) -> tuple[asyncio.DatagramTransport, int]:
    """Start a name server over UDP; `answer` gets and returns a dns.message.Message. Returns it and its port."""
    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, client: Any) -> None:
            self.transport.sendto(answer(dns.message.from_wire(data)).to_wire(), client)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, (address, port))
    return transport, transport.get_extra_info("sockname")[1]


async def serve(handlers: dict[str, Any], options: Iterable[tuple[str, Any]] = (), address: str = "127.0.0.1:0") -> Any:
    """Start a grpc.aio server of bytes: `{"Name": grpc.unary_unary_rpc_method_handler(…)}` is /test/Name.

    Returns the server, with its port as `port`.
    """
    server = grpc.aio.server(options=tuple(options))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    server.port = server.add_insecure_port(address)
    await server.start()
    return server


def with_addresses(query: Any, addresses: list[str]) -> Any:
    """Return the answer with these IPv4 addresses, repetitions included, and none of another kind."""
    response = dns.message.make_response(query)
    question = query.question[0]
    if question.rdtype == dns.rdatatype.A:
        response.answer = [dns.rrset.from_text(question.name, 60, "IN", "A", each) for each in addresses]
    return response


REPLICAS = [f"127.0.1.{number}" for number in range(1, 41)]


async def call(target: str) -> str:
    policy = '{"loadBalancingConfig": [{"round_robin": {}}]}'
    async with grpc.aio.insecure_channel(target, [("grpc.service_config", policy)]) as channel:
        try:
            return bytes(await channel.unary_unary("/test/Call")(b"", timeout=20)).decode()
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"


async def main() -> None:
    async def respond(_request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return b"OK"

    server = await serve({"Call": grpc.unary_unary_rpc_method_handler(respond)}, address="0.0.0.0:0")
    versions = set()

    def over_udp(query: dns.message.Message) -> dns.message.Message:
        versions.add(query.edns)
        response = with_addresses(query, REPLICAS[:30])
        if response.answer:
            response.flags |= dns.flags.TC
        return response

    over_tcp = 0

    async def over_tcp_too(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal over_tcp
        while length := await reader.read(2):
            query = dns.message.from_wire(await reader.readexactly(int.from_bytes(length, "big")))
            over_tcp += 1
            response = with_addresses(query, REPLICAS).to_wire()
            writer.write(len(response).to_bytes(2, "big") + response)
        writer.close()

    names, port = await name_server(over_udp)
    target = f"dns://127.0.0.1:{port}/replicas.test:{server.port}"
    seen = await call(target)
    expect("without TCP", seen, seen.startswith("UNAVAILABLE"))
    expect("EDNS version", versions, versions == {-1})
    tcp = await asyncio.start_server(over_tcp_too, "127.0.0.1", port)
    seen = await call(target)
    expect("with TCP", seen, seen == "OK" and over_tcp)
    tcp.close()
    names.close()
    await server.stop(0)


asyncio.run(main())
PYTHON
