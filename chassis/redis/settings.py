from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chassis.redis import deployment
from chassis.redis.access import RedisAccess, password
from chassis.redis.deployment import Deployment, Kind
from chassis.redis.schema import CLUSTER_PREFIX, PREFIX_PATTERN, Keys
from chassis.settings import HOST_PATTERN, PORT_PATTERN, ServiceSettings, SettingsError, path, text

_URL = (
    rf"rediss?://(?:[^\s/?#]*@)?{HOST_PATTERN}(?::{PORT_PATTERN})?(?:/[0-9]*)?"
    rf"|unix://[^\s?#]+(?:\?db=[0-9]+)?|{deployment.PATTERN}"
)

_URLS = (
    "redis://HOST:PORT, unix://PATH, redis-sentinel://HOST:PORT,HOST:PORT/NAME or redis-cluster://HOST:PORT,HOST:PORT, "
    "or one with rediss in place of redis"
)


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
        variable = self.variable("redis_password_file")
        if self.redis_password_file is not None and self._password_in_url:
            raise SettingsError(
                f"{variable}={str(self.redis_password_file)!r} is not allowed beside a password in "
                f"{self.variable('redis_url')}: one of them must go"
            )
        if self.redis_password_file is not None:
            password(self.redis_password_file, variable)
        if self.redis_prefix is not None and self._clustered and not Keys(self.redis_prefix).have_one_slot:
            raise SettingsError(
                f"{self.variable('redis_prefix')}={self.redis_prefix!r} is not allowed with a cluster, which keeps all "
                "keys of a report in one slot only if a part of the prefix stands in braces, as in "
                f"{CLUSTER_PREFIX}"
            )

    @property
    def _password_in_url(self) -> str | None:
        # Several hosts are no URL to urlsplit.
        deployment = Deployment.parse(self.redis_url)
        return urlsplit(self.redis_url).password if deployment is None else deployment.password

    @property
    def _clustered(self) -> bool:
        deployment = Deployment.parse(self.redis_url)
        return deployment is not None and deployment.kind is Kind.CLUSTER

    @property
    def redis(self) -> RedisAccess:
        """The Redis to talk to."""
        prefix = self.redis_prefix
        if prefix is None:
            prefix = CLUSTER_PREFIX if self._clustered else ""
        variable = self.variable("redis_password_file")
        return RedisAccess(self.redis_url, self.redis_password_file, self.tls, prefix, variable)
