from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field, model_validator

from chassis import secret_file
from chassis.redis.settings import RedisSettings
from chassis.secret_file import SecretFileError
from chassis.settings import OptionalPath, Pace, secret, tcp_port, text, whole
from webui_svc.events import MOST_STREAMS

_HOST = r"[A-Za-z0-9_.:-]{1,253}"

_TOKEN = r"[A-Za-z0-9_.~+/=-]{16,256}"  # noqa: S105 - what tokens are like
"""RFC 6750 allows these, and at least 16 of them are not guessed."""


class WebuiSettings(RedisSettings):
    """What webui can be told. The pace is no concern of it: it shows the one that the workers report."""

    service: ClassVar[str] = "webui"

    traced: ClassVar[Mapping[Pace, float]] = dict.fromkeys(Pace, 1.0)

    port: int = tcp_port(8_000)
    metrics_port: int = tcp_port(9_104)
    allowed_hosts: str = text(
        "", rf"|{_HOST}(?:,{_HOST})*", "names or addresses that the page is asked for under, with commas, or nothing"
    )
    # A third of all: two pages each of a large class behind one address.
    streams_per_client: int = whole(500, 1, MOST_STREAMS, "pages open at one address")
    token: str = secret(_TOKEN, "16 to 256 of letters, digits and - . _ ~ + / =")
    token_file: OptionalPath = Field(
        default=None, description="the path of a file that has the token in one line, or nothing"
    )

    @model_validator(mode="before")
    @classmethod
    def _read_token(cls, values: dict[str, object]) -> dict[str, object]:
        path = values.get("token_file")
        if not path:
            return values
        variable = cls.variable("token_file")
        if values.get("token"):
            raise ValueError(
                f"{variable}={str(path)!r} is not allowed beside {cls.variable('token')}: one of them must go"
            )
        try:
            return {**values, "token": secret_file.read(variable, Path(str(path)), "token")}
        except SecretFileError as error:
            raise ValueError(str(error)) from None

    @property
    def hosts(self) -> frozenset[str]:
        """Those allowed, in lower case; any where there are none."""
        return frozenset(host.lower() for host in self.allowed_hosts.split(",") if host)
