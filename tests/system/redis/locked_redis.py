"""A Redis that is locked as compose.tls.yaml locks it, on loopback, and the files that its clients have."""

from pathlib import Path
from typing import Any

import yaml
from support.compose_project import ROOT
from support.redis_server import TLS_HOST, RedisServer

from chassis.redis.access import RedisAccess
from chassis.settings.certificate_files import CertificateFiles
from deploy.tls import redis_users, secret_file
from deploy.tls.authority import Authority
from deploy.tls.certificate import CLIENT, SERVER
from deploy.tls.identity import Identity

PASSWORDS = {"worker": "worker-password", "webui": "webui-password"}


class LockedRedis(RedisServer):
    """One server with a certificate for a name, by default the one by which its clients know it."""

    def __init__(self, program: str, folder: Path, name: str = TLS_HOST) -> None:
        super().__init__(folder)
        self._authority = Authority(folder)
        self._authority.issue(Identity(name, (SERVER, CLIENT), 0), folder)
        for client, password in PASSWORDS.items():
            self.issue(client)
            self.password_file(client).write_text(password)
        users = redis_users.acl_file({user: password.encode() for user, password in PASSWORDS.items()})
        secret_file.write(folder / "users.acl", users, secret_file.PUBLIC)
        # What the containers run, with other paths and another port.
        command = yaml.safe_load((ROOT / "compose.tls.yaml").read_text())["services"]["redis"]["command"]
        text = "\n".join(map(str, command[1:])).replace("6379", f"{self.port}")
        text = text.replace("/run/certs/redis", f"{folder}/{name}").replace("/run/certs", f"{folder}")
        self._command = (program, *text.split("\n"), "--bind", "127.0.0.1", "--dir", f"{folder}")

    def issue(self, client: str) -> None:
        """Give a client a certificate, or another one."""
        self._authority.issue(Identity(client, (CLIENT,), 0), self.folder)

    def password_file(self, client: str) -> Path:
        return self.folder / f"{client}-password"

    def files(self, client: str) -> CertificateFiles:
        return CertificateFiles(
            self.folder / f"{client}.pem", self.folder / f"{client}-key.pem", self.folder / "ca.pem"
        )

    def access(self, client: str) -> RedisAccess:
        url = f"rediss://{client}@{TLS_HOST}:{self.port}"
        return RedisAccess(url, self.password_file(client), self.files(client))

    def worker_settings(self, **changes: Any) -> dict[str, Any]:
        """By field."""
        access, files = self.access("worker"), self.files("worker")
        certificate = {"tls_cert": files.cert, "tls_key": files.key, "tls_ca": files.ca}
        return {"redis_url": access.url, "redis_password_file": access.password_file, **certificate, **changes}

    @property
    def log(self) -> str:
        return (self.folder / "output.log").read_text()
