from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from chassis.redis.access import RedisAccess, password
from chassis.redis.deployment import Deployment, Kind
from chassis.redis.key_names import CLUSTER_PREFIX, PREFIX_PATTERN, KeyNames
from chassis.secret_file import SecretFileError
from chassis.settings import OptionalPath, ServiceSettings, redis_url, text


class RedisSettings(ServiceSettings):
    """What a service that talks to Redis can be told of it."""

    redis_url: str = redis_url()
    redis_prefix: str | None = text(None, PREFIX_PATTERN, "at most 64 of letters, digits and - . _ : / { }")
    redis_password_file: OptionalPath = Field(
        default=None, description="the path of a file that has the password in one line, or nothing"
    )

    @model_validator(mode="after")
    def _check_password(self) -> Self:
        if self.redis_password_file is not None:
            variable = self.variable("redis_password_file")
            if self._password_in_url:
                raise ValueError(
                    f"{variable}={str(self.redis_password_file)!r} is not allowed beside a password in "
                    f"{self.variable('redis_url')}: one of them must go"
                )
            try:
                password(self.redis_password_file, variable)
            except SecretFileError as error:
                raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _check_slot(self) -> Self:
        if self.redis_prefix is not None and self._clustered and not KeyNames(self.redis_prefix).have_one_slot:
            raise ValueError(
                f"{self.variable('redis_prefix')}={self.redis_prefix!r} is not allowed with a cluster, which keeps all "
                "keys of a report in one slot only if a part of the prefix stands in braces, as in "
                f"{CLUSTER_PREFIX}"
            )
        return self

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
