"""A Redis that is locked as compose.tls.yaml locks it, on loopback, and the files that its clients have."""

import hashlib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from support.compose_project import ROOT
from support.free_port import free_port

from chassis.redis.access import RedisAccess
from chassis.tls.certificate_files import CertificateFiles
from deploy.tls import redis_users, secret_file
from deploy.tls.authority import Authority
from deploy.tls.certificate import CLIENT, SERVER
from deploy.tls.identity import Identity

HOST = "localhost"
PASSWORDS = {"worker": "worker-password", "webui": "webui-password"}
USERS = redis_users.acl_file({user: password.encode() for user, password in PASSWORDS.items()})


class LockedRedis:
    """One server. Its certificate is for `name`, and its clients ask for localhost."""

    def __init__(self, program: str, folder: Path, name: str = HOST) -> None:
        self.folder = folder
        folder.mkdir()
        self.authority = Authority(folder)
        self._issue("redis", Identity(name, (SERVER, CLIENT), 0))
        for client, password in PASSWORDS.items():
            self.issue(client)
            self.password_file(client).write_text(password)
        secret_file.write(folder / "users.acl", USERS, secret_file.PUBLIC)
        self.port = free_port()
        # What the containers run, with other paths and another port.
        command = yaml.safe_load((ROOT / "compose.tls.yaml").read_text())["services"]["redis"]["command"]
        replaced = [str(word).replace("/run/certs", str(folder)).replace("6379", str(self.port)) for word in command]
        self._command = [program, *replaced[1:], "--bind", "127.0.0.1", "--dir", str(folder)]
        self._popen: subprocess.Popen[bytes] | None = None

    def issue(self, client: str) -> None:
        """Give a client a certificate, another one if it has one."""
        self._issue(client, Identity(client, (CLIENT,), 0))

    def _issue(self, file: str, identity: Identity) -> None:
        self.authority.issue(identity, self.folder)
        if identity.name != file:
            for end in (".pem", "-key.pem"):
                (self.folder / f"{identity.name}{end}").rename(self.folder / f"{file}{end}")

    def password_file(self, client: str) -> Path:
        return self.folder / f"{client}-password"

    def files(self, client: str) -> CertificateFiles:
        return CertificateFiles(
            self.folder / f"{client}.pem", self.folder / f"{client}-key.pem", self.folder / "ca.pem"
        )

    def access(self, client: str, scheme: str = "rediss") -> RedisAccess:
        return RedisAccess(f"{scheme}://{client}@{HOST}:{self.port}", self.password_file(client), self.files(client))

    def settings(self, client: str, **changes: Any) -> Mapping[str, Any]:
        """What a service is told, by field."""
        access, files = self.access(client), self.files(client)
        told = {"redis_url": access.url, "redis_password_file": access.password_file}
        return {**told, "tls_cert": files.cert, "tls_key": files.key, "tls_ca": files.ca, **changes}

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "output.log").read_text()

    def start(self) -> None:
        with (self.folder / "output.log").open("ab") as log:
            self._popen = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline, self.log
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
            self._popen = None


@contextmanager
def locked_redis(program: str, folder: Path, name: str = HOST) -> Iterator[LockedRedis]:
    server = LockedRedis(program, folder, name)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def set_users(client: Any, rules: Mapping[str, str]) -> None:
    """Give a server whose default user may do everything these users too, each with its name as its password."""
    for user, allowed in rules.items():
        digest = hashlib.sha256(user.encode()).hexdigest()
        client.execute_command("ACL", "SETUSER", user, "reset", "on", f"#{digest}", *acl_words(allowed))


def acl_words(rules: str) -> list[str]:
    """The words of an ACL rule; a selector is one of them."""
    words: list[str] = []
    for word in rules.split(" "):
        if words and words[-1].startswith("(") and not words[-1].endswith(")"):
            words[-1] += f" {word}"
        else:
            words.append(word)
    return words
