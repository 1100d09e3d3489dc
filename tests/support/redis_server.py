"""A real Redis-compatible server that tests start, stop, kill and freeze."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis

from local_run import embedded_redis
from support.free_port import free_port
from support.redis_encryption import RedisEncryption


class RedisServer:
    """One server on a fixed free port, append-only, that keeps its data between a stop and a start."""

    def __init__(
        self, folder: Path, *options: object, program: str | None = None, encryption: RedisEncryption | None = None
    ) -> None:
        """With further options of its command line; of another program than the one that comes with Python packages."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.encryption = encryption
        embedded, *plain = embedded_redis.command(self.port, str(folder))
        program = program or embedded
        if encryption is not None:
            program = encryption.program
            for name, value in encryption.settings(self.port).items():
                plain += (f"--{name}", str(value))  # the last one counts
        self._command = (program, *plain, *map(str, options))
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._popen is not None, "not running"
        return self._popen.pid

    def client(self) -> Any:
        """A client whose answers are strings; redis-py's own types admit every kind of client at once."""
        encrypted = self.encryption.client_options() if self.encryption else {}
        return redis.Redis(port=self.port, decode_responses=True, socket_timeout=5, **encrypted)

    def content(self) -> dict[str, Any]:
        """What every key holds, whenever it ends."""
        client = self.client()
        read = {"string": client.get, "hash": client.hgetall, "stream": client.xrange}
        read["zset"] = lambda key: client.zrange(key, 0, -1, withscores=True)
        return {key: read[client.type(key)](key) for key in client.scan_iter()}

    def start(self) -> None:
        with (self.folder / "output.log").open("ab") as log:
            self._popen = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        if self._popen is not None:
            self._popen.send_signal(number)

    def freeze(self) -> None:
        """Stop it, and wait until it has stopped."""
        self.send(signal.SIGSTOP)
        until = time.monotonic() + 5
        while psutil.Process(self.pid).status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < until
            time.sleep(0.001)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._popen is not None:
            self.send(signal.SIGCONT)
            self.send(number)
            self._popen.wait(10)
            self._popen = None


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)
