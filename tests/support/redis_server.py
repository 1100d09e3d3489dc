"""A real Redis-compatible server that tests start, stop, kill and freeze."""

import contextlib
import hashlib
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis

from local_run import embedded_redis
from support.free_port import free_port
from support.waiting import wait_until

# The name in a server's certificate: servers and clients must use it.
TLS_HOST = "localhost"


class RedisServer:
    """One server on a fixed free port, append-only, that keeps its data between a stop and a start."""

    def __init__(
        self,
        folder: Path,
        *options: object,
        program: str | None = None,
        tls: Mapping[str, str] | None = None,
        host: str = embedded_redis.HOST,
        port: int | None = None,
    ) -> None:
        """Take the program that comes with Python packages, or another one; only another one supports TLS.

        Nothing waits for the disk unless the options say so: tests kill the server, never the machine. `tls` is the
        certificate that all servers and clients show, as settings.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.host = host
        self.port = free_port() if port is None else port
        self.tls = tls
        embedded, *plain = embedded_redis.command(self.port, str(folder))
        encrypted = (word for name, value in self.tls_settings.items() for word in (f"--{name}", f"{value}"))
        more = ("--bind", host, "--appendfsync", "no", *map(str, options))
        self._command = (program or embedded, *plain, *encrypted, *more)
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def tls_settings(self) -> dict[str, object]:
        """Of a server that speaks nothing but TLS."""
        if self.tls is None:
            return {}
        files = {"tls-cert-file": "TLS_CERT", "tls-key-file": "TLS_KEY", "tls-ca-cert-file": "TLS_CA"}
        settings = {"port": 0, "tls-port": self.port, "tls-replication": "yes", "tls-cluster": "yes"}
        return {**settings, **{option: self.tls[name] for option, name in files.items()}}

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._popen is not None, "not running"
        return self._popen.pid

    def client(self) -> Any:
        """A client whose answers are strings; redis-py's own types admit every kind of client at once."""
        options: dict[str, Any] = {"decode_responses": True, "socket_timeout": 5}
        if self.tls is not None:
            files = {"ssl_certfile": "TLS_CERT", "ssl_keyfile": "TLS_KEY", "ssl_ca_certs": "TLS_CA"}
            options |= {"ssl": True, **{option: self.tls[name] for option, name in files.items()}}
        return redis.Redis(host=self.host if self.tls is None else TLS_HOST, port=self.port, **options)

    @property
    def hashes(self) -> int:
        """How many are counted."""
        return int(self.client().get("hashes") or 0)

    def wallet(self) -> dict[bytes, bytes]:
        """Return the coins: each digest, in hexadecimal digits, with the message that it is of."""
        with contextlib.closing(redis.Redis(port=self.port)) as client:
            wallet: Any = client.hgetall("wallet")
        assert all(hashlib.sha256(message).hexdigest().encode() == digest for digest, message in wallet.items())
        return dict(wallet)

    def content(self) -> dict[str, Any]:
        """What every key holds, whenever it ends."""
        client = self.client()
        read = {"string": client.get, "hash": client.hgetall, "stream": client.xrange}
        read["zset"] = lambda key: client.zrange(key, 0, -1, withscores=True)
        return {key: read[client.type(key)](key) for key in client.scan_iter()}

    def set_users(self, rules: Mapping[str, str]) -> None:
        """Give it these users beside the default one, each with its name as its password."""
        for user, allowed in rules.items():
            digest = hashlib.sha256(user.encode()).hexdigest()
            words = re.findall(r"\([^)]*\)|\S+", allowed)  # a selector is one word
            self.client().execute_command("ACL", "SETUSER", user, "reset", "on", f"#{digest}", *words)

    def start(self) -> None:
        with (self.folder / "output.log").open("ab") as log:
            self._popen = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(self._listens)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), 1):
            return True
        return False

    def send(self, number: signal.Signals) -> None:
        if self._popen is not None:
            self._popen.send_signal(number)

    def freeze(self) -> None:
        """Stop it, and wait until it has stopped."""
        self.send(signal.SIGSTOP)
        process = psutil.Process(self.pid)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._popen is not None:
            self.send(signal.SIGCONT)
            self.send(number)
            self._popen.wait(10)
            self._popen = None


@contextmanager
def redis_server(folder: Path, *options: object, **more: Any) -> Iterator[RedisServer]:
    server = RedisServer(folder, *options, **more)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)
