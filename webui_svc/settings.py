"""The settings of webui."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from chassis.redis.settings import RedisSettings
from chassis.settings import SettingsError, path, read_secret, tcp_port, text, whole

# Streams of events that are open at a time.
MAX_STREAMS = 1_500

_HOST = r"[A-Za-z0-9_.:-]{1,253}"

# RFC 6750 allows these, and at least 16 of them are not guessed.
_TOKEN = r"[A-Za-z0-9_.~+/=-]{16,256}"  # noqa: S105 - what tokens are like


class WebuiSettings(RedisSettings):
    """The settings of webui. The pace changes nothing: the page shows the one that the workers report."""

    service: ClassVar[str] = "webui"

    defaults: ClassVar[Mapping[str, Any]] = {"metrics_port": 9_104, "otel_traces_sampler_arg": 1}

    port: int = tcp_port(8_000, "The port of the page.")
    allowed_hosts: str = text(
        "",
        rf"|{_HOST}(?:,{_HOST})*",
        "host names or addresses, separated by commas, or nothing",
        "The host names under which the page may be requested; without one, all.",
    )
    # A third of all: two pages each of a large class behind one address.
    streams_per_client: int = whole(
        500, 1, MAX_STREAMS, "pages", "How many pages may be open at one address at the same time."
    )
    token: str = text(
        "",
        f"|{_TOKEN}",
        "16 to 256 of letters, digits and - . _ ~ + / =",
        "A [token](security.md#the-page) that every request but `/healthz` must have.",
        is_secret=True,
    )
    token_file: Path | None = path("a file that has the token in one line", "The token, in a file.")

    @classmethod
    def in_effect(cls, texts: Mapping[str, str]) -> Mapping[str, str]:
        """Add the token that a file has."""
        texts = super().in_effect(texts)
        if not (file := texts.get("token_file")):
            return texts
        variable = cls.variable("token_file")
        if texts.get("token"):
            raise SettingsError(
                f"{variable}={file!r} is not allowed beside {cls.variable('token')}: one of them must go"
            )
        return {**texts, "token": read_secret(variable, Path(file), "token")}

    @property
    def hosts(self) -> frozenset[str]:
        """The allowed names, in lower case; without one, all are allowed."""
        return frozenset(host.lower() for host in self.allowed_hosts.split(",") if host)
