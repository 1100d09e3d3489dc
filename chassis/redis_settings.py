from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from chassis.redis_access import RedisAccess, password
from chassis.secret_file import SecretFileError
from chassis.settings import ServiceSettings, redis_url


class RedisSettings(ServiceSettings):
    """What a service that talks to Redis can be told of it."""

    redis_url: str = redis_url()
    redis_password_file: Path | None = Field(
        default=None, description="the path of a file that has the password in one line, or nothing"
    )

    @field_validator("redis_password_file", mode="before")
    @classmethod
    def _take_no_file_for_unset(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _check_password(self) -> Self:
        if self.redis_password_file is not None:
            if urlsplit(self.redis_url).password:
                raise ValueError(
                    f"REDIS_PASSWORD_FILE={str(self.redis_password_file)!r} is not allowed beside a password in "
                    "REDIS_URL: one of them must go"
                )
            try:
                password(self.redis_password_file)
            except SecretFileError as error:
                raise ValueError(str(error)) from None
        return self

    @property
    def redis(self) -> RedisAccess:
        """The Redis to talk to."""
        return RedisAccess(self.redis_url, self.redis_password_file, self.tls)
