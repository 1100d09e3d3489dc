#!/usr/bin/env bash
# Which channels share a connection: any argument separates them, but for the service config; TLS always does.
#
# Versions: grpcio 1.85.1, grpc.aio, trustme 1.2.1; seen 2026-11-29.
#
# Two channels of a process to one server may use one connection (a subchannel), and then they also share its backoff,
# its flow-control window and its limit of streams. What decides is the whole set of arguments and the target's
# authority, not whether an argument has anything to do with connections:
#   1. Shared: equal arguments in another order, another service config, thus another balancing policy, retries,
#      timeouts.
#   2. Not shared: another limit of messages, retry buffer, user agent, an argument that gRPC doesn't know;
#      `127.0.0.1:1` against `ipv4:127.0.0.1:1`; a policy that is named by grpc.lb_policy_name instead of the config.
#   3. Not shared over TLS, even with one credentials object: Python makes new ones of it for each channel. So a program
#      with ten channels that relies on one connection pays ten handshakes as soon as it is encrypted.
#
# Prints the connections that two channels use, by what differs.
#
# Seen:
#     nothing: 1
#     the order of arguments: 1
#     service config: 1
#     limit of messages: 2
#     retry buffer: 2
#     user agent: 2
#     an unknown argument: 2
#     grpc.lb_policy_name: 2
#     ipv4: before the address: 2
#     nothing, over TLS: 2
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "grpcio==${GRPCIO:-1.85.1}" trustme==1.2.1 || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(grpcio|trustme)=="

GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" <<'PYTHON'
import asyncio
import os
import sys
from typing import Any

import grpc
import trustme

Options = list[tuple[str, Any]]


def expect(what: str, seen: object, holds: object) -> None:
    """Print what was seen; exit with 1 if the finding does not hold any more."""
    print(f"{what}: {seen}", flush=True)
    if not holds:
        print("this is not the behaviour that the finding describes", file=sys.stderr, flush=True)
        # gRPC's threads may keep an interpreter from ending while calls are open.
        os._exit(1)


PICK_FIRST, ROUND_ROBIN = (
    f'{{"loadBalancingConfig": [{{"{policy}": {{}}}}], "methodConfig": [{{"name": [{{}}], "timeout": "{timeout}s"}}]}}'
    for policy, timeout in (("pick_first", 3), ("round_robin", 4))
)
# What differs, the arguments of the first channel, those of the second, and the connections.
PAIRS: tuple[tuple[str, Options, Options, int], ...] = (
    ("nothing", [("one", 1), ("two", 2)], [("one", 1), ("two", 2)], 1),
    ("the order of arguments", [("one", 1), ("two", 2)], [("two", 2), ("one", 1)], 1),
    ("service config", [("grpc.service_config", PICK_FIRST)], [("grpc.service_config", ROUND_ROBIN)], 1),
    ("limit of messages", [("grpc.max_receive_message_length", 1_000)], [], 2),
    ("retry buffer", [("grpc.per_rpc_retry_buffer_size", 1_000)], [], 2),
    ("user agent", [("grpc.primary_user_agent", "one")], [], 2),
    ("an unknown argument", [("one", 1)], [("one", 2)], 2),
    ("grpc.lb_policy_name", [("grpc.lb_policy_name", "round_robin")], [], 2),
)


async def count(*channels: grpc.aio.Channel) -> int:
    """Return the number of connections that these use."""
    peers = {await channel.unary_unary("/test/Peer")(b"", timeout=20) for channel in channels}
    for channel in channels:
        await channel.close()
    return len(peers)


async def main() -> None:
    async def peer(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return context.peer().encode()

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    server = grpc.aio.server()
    handlers = {"Peer": grpc.unary_unary_rpc_method_handler(peer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    plain = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    secure = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', grpc.ssl_server_credentials([chain]))}"
    await server.start()

    for what, *both, connections in PAIRS:
        seen = await count(*(grpc.aio.insecure_channel(plain, options) for options in both))
        expect(what, seen, seen == connections)
    seen = await count(grpc.aio.insecure_channel(plain), grpc.aio.insecure_channel(f"ipv4:{plain}"))
    expect("ipv4: before the address", seen, seen == 2)
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    seen = await count(*(grpc.aio.secure_channel(secure, credentials) for _ in range(2)))
    expect("nothing, over TLS", seen, seen == 2)
    await server.stop(0)


asyncio.run(main())
PYTHON
