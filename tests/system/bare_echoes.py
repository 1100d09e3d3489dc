"""What gRPC itself costs on this machine now: two servers that send back messages, as many as the classic pace has."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil

from bench.echo_server import METHOD, SERVICE
from bench.processes import free_port, process, wait_until_listening

MESSAGE = bytes(32)

PERIOD = 0.3
"""Seconds between two messages on one stream: one classic worker asks each service that often."""


@contextlib.contextmanager
def bare_echoes(folder: Path) -> Iterator[list[psutil.Process]]:
    """The servers, asked for as long as the context lasts."""
    ended = threading.Event()

    def messages() -> Iterator[bytes]:
        while not ended.wait(PERIOD):
            yield MESSAGE

    def read(channel: Any) -> None:  # the types of a channel know no call without a serializer
        for _ in channel.stream_stream(f"/{SERVICE}/{METHOD}")(messages()):
            pass

    servers: list[psutil.Process] = []
    with contextlib.ExitStack() as stack:
        readers: list[threading.Thread] = []
        for number in range(2):
            port = free_port()
            command = [sys.executable, "-m", "bench.echo_server", f"{port}"]
            server = stack.enter_context(process(command, {}, folder / f"echo-{number}.log"))
            wait_until_listening(server, "127.0.0.1", port, folder)
            servers.append(psutil.Process(server.pid))
            channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
            readers.append(threading.Thread(target=read, args=(channel,)))
        for reader in readers:
            reader.start()
        try:
            yield servers
        finally:
            ended.set()
            for reader in readers:
                reader.join()
