"""Where Redis is and how to log in there, according to REDIS_URL and its companions. No client is imported for it.

Beside the URLs of redis-py there are two for more than one server:

redis-sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME   Sentinels, which name the master
redis-cluster://USER:PASSWORD@HOST:PORT,HOST:PORT         nodes of a cluster, which name the node of a slot

With `rediss-` everything is encrypted. One host that replies is enough.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from chassis.redis.schema import CLUSTER_PREFIX, PREFIX_PATTERN, Keys
from chassis.settings import (
    HOST_PATTERN,
    PORT_PATTERN,
    CertificateFiles,
    ServiceSettings,
    SettingsError,
    path,
    read_secret,
    text,
)

# A host and its port.
Node = tuple[str, int]

_LOGIN = r"(?:[^\s/?#]*@)?"
_HOST = rf"{HOST_PATTERN}(?::{PORT_PATTERN})?"
_HOSTS = rf"{_HOST}(?:,{_HOST})*"

_URL = (
    rf"rediss?://{_LOGIN}{_HOST}(?:/[0-9]*)?|unix://[^\s?#]+(?:\?db=[0-9]+)?"
    rf"|rediss?-sentinel://{_LOGIN}{_HOSTS}/[\w.-]+|rediss?-cluster://{_LOGIN}{_HOSTS}/?"
)

_URLS = (
    "redis://HOST:PORT, unix://PATH, redis-sentinel://HOST:PORT,HOST:PORT/NAME or redis-cluster://HOST:PORT,HOST:PORT, "
    "or one with rediss in place of redis"
)

_PARTS = re.compile(r"redis(?P<s>s?)-(?P<kind>sentinel|cluster)://(?:(?P<login>.*)@)?(?P<hosts>[^/]+)/?(?P<name>.*)")


@dataclass(frozen=True)
class Deployment:
    """Servers that take over from one another, and the nodes that are queried for the master."""

    encrypted: bool
    nodes: tuple[Node, ...]
    # The master's name among Sentinels; empty with a cluster.
    name: str
    username: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str) -> Self | None:
        """Return the deployment that an allowed URL names; None for a single server."""
        parts = _PARTS.fullmatch(url)
        if parts is None:
            return None
        default_port = 26_379 if parts["kind"] == "sentinel" else 6_379
        username, _, password = (parts["login"] or "").partition(":")
        return cls(
            encrypted=bool(parts["s"]),
            nodes=tuple(_node(each, default_port) for each in parts["hosts"].split(",")),
            name=parts["name"],
            username=unquote(username) or None,
            password=unquote(password) or None,
        )

    @property
    def is_cluster(self) -> bool:
        """Whether the nodes are those of a cluster, and not Sentinels."""
        return not self.name


def _node(text: str, default_port: int) -> Node:
    host, port = re.fullmatch(r"(\[.*\]|[^:]*)(?::(.*))?", text, re.DOTALL).groups()  # type: ignore[union-attr] # any does
    return host.strip("[]"), int(port or default_port)


@dataclass(frozen=True)
class RedisAccess:
    """Where Redis is, and how to log in there."""

    # With the user and, unless a file has it, the password.
    url: str
    password_file: Path | None = None
    # The certificates for a rediss URL; without them the server must have one that the system trusts.
    tls: CertificateFiles | None = None
    # All keys begin with it.
    prefix: str = ""
    # The variable that names the password file, for errors.
    password_variable: str = "REDIS_PASSWORD_FILE"  # noqa: S105 - a name

    @property
    def deployment(self) -> Deployment | None:
        """The deployment of several servers, if it is one."""
        return Deployment.parse(self.url)

    @property
    def name(self) -> str:
        """The name of the server or of the deployment, for people."""
        if self.deployment is None:
            return urlsplit(self.url).hostname or "redis"
        return self.deployment.name or self.deployment.nodes[0][0]

    @property
    def keys(self) -> Keys:
        """The names of all keys."""
        return Keys(self.prefix)

    def read_password(self) -> str | None:
        """Return the password that the file has; None without a file. Raises SettingsError."""
        if self.password_file is None:
            return None
        return read_secret(self.password_variable, self.password_file, "password")


def redis_url(default: str | None, meaning: str) -> Any:
    """Return a field for the URL of a Redis server."""
    return text(default, _URL, _URLS, meaning)


class RedisSettings(ServiceSettings):
    """The settings of every service that uses Redis."""

    redis_url: str = redis_url(
        "redis://redis:6379",
        "The Redis server, or [Sentinels or a cluster](redis.md); with `rediss` in place of `redis`, encrypted. In a "
        "container a worker reaches only what its networks lead to.",
    )
    redis_prefix: str | None = text(
        None,
        PREFIX_PATTERN,
        "at most 64 of letters, digits and - . _ : / { }",
        "What the names of all keys in Redis begin with; with a cluster `{dockercoins}:` unless set.",
    )
    redis_password_file: Path | None = path(
        "a file that has the password in one line",
        "The password of the user that `REDIS_URL` names (`rediss://worker@redis:6379`), read at each connection.",
    )

    def check(self) -> None:
        """Raise SettingsError for a second password, one that can't be read, and a prefix that no cluster can use."""
        super().check()
        access = self.redis
        # urlsplit takes several hosts for none.
        in_url = urlsplit(access.url).password if access.deployment is None else access.deployment.password
        if access.password_file is not None and in_url:
            raise SettingsError(
                f"{access.password_variable}={str(access.password_file)!r} is not allowed beside a password in "
                f"{self.variable('redis_url')}: one of them must go"
            )
        access.read_password()
        if self._clustered and not access.keys.share_hash_slot:
            raise SettingsError(
                f"{self.variable('redis_prefix')}={access.prefix!r} is not allowed with a cluster, which keeps all "
                "keys of a report in one hash slot only if the prefix has a hash tag in braces, as in "
                f"{CLUSTER_PREFIX}"
            )

    @property
    def _clustered(self) -> bool:
        deployment = Deployment.parse(self.redis_url)
        return deployment is not None and deployment.is_cluster

    @property
    def redis(self) -> RedisAccess:
        """The Redis server to connect to."""
        prefix = self.redis_prefix
        if prefix is None:
            prefix = CLUSTER_PREFIX if self._clustered else ""
        variable = self.variable("redis_password_file")
        return RedisAccess(self.redis_url, self.redis_password_file, self.tls, prefix, variable)
