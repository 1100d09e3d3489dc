#!/usr/bin/env python3
"""gRPC uses none of the 30 addresses of a DNS answer that was cut off, if TCP to the name server is closed.

Versions: grpcio 1.85.1, its own c-ares, dnspython 2.9.2 as the name server; seen 2026-11-29.

Forty replicas of one name are 40 addresses, and without EDNS an answer over UDP is at most 512 bytes. The name server
does what Docker's does: it sends the 30 addresses that fit, with the truncation mark. A client should then use TCP.
  1. c-ares in grpcio sends no EDNS record, which would have made room for 4,096 bytes.
  2. It asks again over TCP. Where a firewall or the name server refuses that, the 30 addresses that it has are dropped,
     and the channel is in TRANSIENT_FAILURE as if the name did not exist: everything fails at the 31st replica.
  3. Where TCP works, all 40 are used.

Prints the EDNS version of the queries (-1 is none) and how calls end.
"""

import asyncio

from support import expect, name_server, run_with, serve, with_addresses

run_with("grpcio==1.85.1", "dnspython==2.9.2")

import dns.flags
import dns.message
import grpc

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
