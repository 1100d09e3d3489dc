"""Clients of servers with TLS, with whatever certificate, and what they are told."""

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from support.service_process import ServiceProcess

GRPCURL = shutil.which("grpcurl", path=str(Path(sys.executable).parent))


@asynccontextmanager
async def connected(server: ServiceProcess, settings: Mapping[str, str], name: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel that shows this certificate, if there is any, and expects the server to have that name."""
    authority, key, chain = (content(settings, each) for each in ("TLS_CA", "TLS_KEY", "TLS_CERT"))
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    options = (("grpc.default_authority", name),)
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options) as channel:
        yield channel


def content(settings: Mapping[str, str], variable: str) -> bytes | None:
    return Path(settings[variable]).read_bytes() if variable in settings else None


async def call(channel: grpc.aio.Channel, path: str, request: bytes) -> grpc.aio.AioRpcError | bytes:
    """The answer to these bytes, or why there is none."""
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    try:
        return await method(request, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error


def log_lines(process: ServiceProcess, event: str) -> list[dict[str, object]]:
    """What a process with LOG_FORMAT=json said of these events."""
    lines = [json.loads(line) for line in process.text.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def grpcurl(
    server: ServiceProcess, settings: Mapping[str, str], name: str, *words: str
) -> "subprocess.CompletedProcess[str]":
    """What a person with this certificate is told."""
    assert GRPCURL is not None, "grpcurl is missing: make test installs it"
    files = ["-cacert", settings["TLS_CA"], "-cert", settings["TLS_CERT"], "-key", settings["TLS_KEY"]]
    command = [GRPCURL, *files, "-authority", name, "-max-time", "5", f"127.0.0.1:{server.port}", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
