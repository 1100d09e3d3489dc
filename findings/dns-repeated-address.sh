#!/usr/bin/env bash
# A name server that repeats an address gives that replica twice its share of round_robin's calls.
#
# Versions: grpcio 1.85.1, its own c-ares (the default resolver), dnspython 2.9.2 as the name server; seen 2026-11-29.
#
# The name has two replicas, and the answer lists the first one twice. One would expect a set of addresses, as
# getaddrinfo's users mostly treat it. round_robin keeps the repetition: the replica has 2 of 3 calls, over one
# connection. Whoever balances by addresses from DNS has to remove repetitions.
#
# Prints the calls of each replica out of 300.
#
# Seen:
#     calls: {'second': 100, 'first': 200}
#     connections: {'first': 1, 'second': 1}
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
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

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


async def main() -> None:
    calls: Counter[str] = Counter()

    def replica(name: str) -> dict[str, grpc.RpcMethodHandler]:
        async def call(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            calls[name] += 1
            peers[name].add(context.peer())
            return b""

        return {"Call": grpc.unary_unary_rpc_method_handler(call)}

    peers: dict[str, set[str]] = {"first": set(), "second": set()}
    first = await serve(replica("first"), [("grpc.so_reuseport", 0)], "127.0.0.1:0")
    second = await serve(replica("second"), [("grpc.so_reuseport", 0)], f"127.0.0.2:{first.port}")
    names, port = await name_server(lambda query: with_addresses(query, ["127.0.0.1", "127.0.0.2", "127.0.0.1"]))
    target = f"dns://127.0.0.1:{port}/replicas.test:{first.port}"
    policy = '{"loadBalancingConfig": [{"round_robin": {}}]}'
    async with grpc.aio.insecure_channel(target, [("grpc.service_config", policy)]) as channel:
        call = channel.unary_unary("/test/Call")
        while len(calls) < 2:
            await call(b"", wait_for_ready=True, timeout=20)
        await asyncio.sleep(1)
        calls.clear()
        for _ in range(300):
            await call(b"")
    expect("calls", dict(calls), calls == {"first": 200, "second": 100})
    expect(
        "connections", {name: len(each) for name, each in peers.items()}, all(len(each) == 1 for each in peers.values())
    )
    await asyncio.gather(first.stop(0), second.stop(0))
    names.close()


asyncio.run(main())
PYTHON
