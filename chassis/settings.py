"""Settings read once from the environment, checked, and frozen.

A settings class is a table: one field a variable, each made by one of the helpers below, so that the error for a bad
value can say what is allowed.
"""

import os
import re
import socket
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from chassis.redis import deployment
from chassis.redis.deployment import HOST_PATTERN, PORT_PATTERN
from chassis.telemetry import environment
from chassis.telemetry.sampling import Sampler, Sampling
from chassis.tls.certificate_files import CertificateError, CertificateFiles

# What stands before an @ or, where that was forgotten, after a colon that no host precedes; and a password option.
_SECRETS = (
    (re.compile(r"^([\w-]+://)?.*@", re.DOTALL), r"\1***@"),
    (re.compile(r"(?<=://:).*", re.DOTALL), "***"),
    (re.compile(r"(?<=password=)[^&]*"), "***"),
)

_REDIS_URL = (
    rf"rediss?://(?:[^\s/?#]*@)?{HOST_PATTERN}(?::{PORT_PATTERN})?(?:/[0-9]*)?"
    rf"|unix://[^\s?#]+(?:\?db=[0-9]+)?|{deployment.PATTERN}"
)

_REDIS_URLS = (
    "redis://HOST:PORT, unix://PATH, redis-sentinel://HOST:PORT,HOST:PORT/NAME or redis-cluster://HOST:PORT,HOST:PORT, "
    "or one with rediss in place of redis"
)

_COLLECTOR_URL = rf"https?://(?:[^\s/?#]*@)?{HOST_PATTERN}(?::{PORT_PATTERN})?(?:/[^\s?#]*)?"


class SettingsError(Exception):
    """A variable holds what is not allowed; whoever set it must mend it. The message is one line."""


class Word(StrEnum):
    """A word in lower case that may be written in any case."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return next((word for word in cls if isinstance(value, str) and word == value.lower()), None)


class Pace(Word):
    """The workshop's leisurely pace, or as fast as it goes."""

    CLASSIC = "classic"
    FULL = "full"


class LogLevel(Word):
    """The least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(Word):
    """Lines for people, or one JSON object a line."""

    CONSOLE = "console"
    JSON = "json"


def whole(default: int | None, minimum: int, maximum: int, unit: str) -> Any:
    """A field for a whole number; without a default, the pace gives it."""
    allowed = f"a whole number from {minimum} to {maximum} ({unit})"
    bounds: dict[str, Any] = {"ge": minimum, "le": maximum, "description": allowed}
    return Field(**bounds) if default is None else Field(default=default, **bounds)


def number(default: float | None, minimum: float, maximum: float, unit: str) -> Any:
    """A field for a finite number; without a default, the pace gives it."""
    allowed = f"a number from {minimum:g} to {maximum:g} ({unit})"
    bounds: dict[str, Any] = {"ge": minimum, "le": maximum, "allow_inf_nan": False, "description": allowed}
    return Field(**bounds) if default is None else Field(default=default, **bounds)


def text(default: str | None, pattern: str, allowed: str) -> Any:
    """A field for a string that matches all of a pattern, or that is not set."""
    return Field(default=default, pattern=f"^(?:{pattern})$", description=allowed)


def tcp_port(default: int) -> Any:
    """A field for a TCP port to listen on; 0 lets the system choose."""
    return whole(default, 0, 65_535, "TCP port, 0 for any free one")


def one_of(default: StrEnum) -> Any:
    """A field for one word of an enumeration."""
    return Field(default=default, description=" or ".join(type(default)))


def redis_url() -> Any:
    """A field for the Redis server, with the design's name and port as its default."""
    return text("redis://redis:6379", _REDIS_URL, _REDIS_URLS)


def secret(pattern: str, allowed: str) -> Any:
    """A field for a string that nobody is told, not even by an error; empty where there is none."""
    return Field(default="", pattern=f"^(?:|{pattern})$", description=allowed, repr=False)


def _check_address(value: str) -> str:
    ip_address(value)
    return value


# No name: gRPC would listen on all addresses that a name has, and Python on the first.
BindAddress = Annotated[str, AfterValidator(_check_address)]

OptionalPath = Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else value)]
"""Of a file; none is meant by an empty value, too, as compose passes on what is set to nothing."""


def _pem_file(what: str) -> Any:
    return Field(default=None, description=f"the path of a PEM file with the {what}, or nothing")


def _collector_url() -> Any:
    return text("", f"|{_COLLECTOR_URL}", "http://HOST:PORT, https://… or nothing")


def _protocol() -> Any:
    return text("http/protobuf", "http/protobuf", "http/protobuf")


# What each process of a service has of its own, and what `make run` and Kubernetes call by such names themselves:
# RNG_PORT is where the first rng listens, or a Service's address.
_OF_ONE_PROCESS = frozenset({"port", "metrics_port", "instance"})

_CERTIFICATES = ("tls_cert", "tls_key", "tls_ca")


def _has_own_name(field: str) -> bool:
    # The names of OpenTelemetry are its own, and most of them are read by its SDK.
    return field not in _OF_ONE_PROCESS and not field.startswith("otel_")


class _OwnVariables(EnvSettingsSource):
    """Variables that begin with the service's name."""

    def __init__(self, settings: type["ServiceSettings"]) -> None:
        super().__init__(settings, env_prefix=f"{settings.service}_")

    def __call__(self) -> dict[str, Any]:
        return {field: value for field, value in super().__call__().items() if _has_own_name(field)}


class ServiceSettings(BaseSettings):
    """What every service can be told."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True)

    # The service's name, with which RNG_DELAY sets DELAY for rng alone; empty where there are no such variables.
    service: ClassVar[str] = ""

    by_pace: ClassVar[Mapping[Pace, Mapping[str, object]]] = {}
    """Defaults that the pace decides: field name to value."""

    traced: ClassVar[Mapping[Pace, float]] = {Pace.CLASSIC: 1, Pace.FULL: 0.01}
    """Part of the traces that are recorded where OTEL_TRACES_SAMPLER_ARG does not say: three batches a second can be
    looked at one by one, thousands can't."""

    pace: Pace = one_of(Pace.CLASSIC)
    bind_address: BindAddress = Field(
        default="127.0.0.1", description="an IPv4 or IPv6 address to listen on, 0.0.0.0 or :: for all"
    )
    instance: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9_.-]{1,63}$",  # metadata is ASCII, and \w is not
        description="1 to 63 of the letters A to Z, digits, - . _",
    )
    log_level: LogLevel = one_of(LogLevel.INFO)
    log_format: LogFormat = one_of(LogFormat.CONSOLE)
    metrics_port: int = tcp_port(0)
    tls_cert: OptionalPath = _pem_file("certificate that this service shows")
    tls_key: OptionalPath = _pem_file("key of that certificate")
    tls_ca: OptionalPath = _pem_file("certificate of the authority that is trusted")
    otel_sdk_disabled: str = ""
    otel_traces_exporter: str = text("otlp", "otlp", "otlp or none")
    otel_exporter_otlp_endpoint: str = _collector_url()
    otel_exporter_otlp_traces_endpoint: str = _collector_url()
    otel_exporter_otlp_protocol: str = _protocol()
    otel_exporter_otlp_traces_protocol: str = _protocol()
    otel_traces_sampler: Sampler = one_of(Sampler.PARENT_BASED_TRACE_ID_RATIO)
    otel_traces_sampler_arg: float | None = Field(
        default=None, ge=0, le=1, allow_inf_nan=False, description="a number from 0 to 1 (part of the traces)"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_pace(cls, values: dict[str, object]) -> dict[str, object]:
        # An unknown pace is an error of its own, and of no other field.
        pace = next((pace for pace in Pace if pace == str(values.get("pace")).lower()), Pace.CLASSIC)
        return {**cls.by_pace.get(pace, {}), **values}

    @model_validator(mode="before")
    @classmethod
    def _keep_what_is_in_effect(cls, values: dict[str, object]) -> dict[str, object]:
        otel = {name: value for name, value in values.items() if name.startswith("otel_")}
        return {name: value for name, value in values.items() if name not in otel} | environment.in_effect(otel)

    @model_validator(mode="after")
    def _check_certificates(self) -> Self:
        paths = {self.variable(field): getattr(self, field) for field in _CERTIFICATES}
        if missing := [name for name, path in paths.items() if path is None]:
            if len(missing) < len(paths):
                named = ", ".join(f"{name}={str(path)!r}" for name, path in paths.items() if path is not None)
                raise ValueError(f"{named} is not allowed without {' and '.join(missing)}: set all three, or none")
        elif self.tls is not None:
            try:
                self.tls.read()
            except CertificateError as error:
                raise ValueError(str(error)) from None
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given comes first, then the service's own variables, then those that services share."""
        del settings_cls, dotenv_settings, file_secret_settings
        return (init_settings, *([_OwnVariables(cls)] if cls.service else []), env_settings)

    @classmethod
    def variable(cls, field: str) -> str:
        """The name of the variable that a field is read from: the service's own where that is set."""
        own = f"{cls.service}_{field}".upper()
        return own if cls.service and _has_own_name(field) and own in os.environ else field.upper()

    @classmethod
    def variables(cls) -> set[str]:
        """The names of all variables that are read."""
        own = {f"{cls.service}_{field}".upper() for field in cls.model_fields if cls.service and _has_own_name(field)}
        return own | {field.upper() for field in cls.model_fields}

    @property
    def tls(self) -> CertificateFiles | None:
        """The files to encrypt with; without them nothing is encrypted."""
        if self.tls_cert is None or self.tls_key is None or self.tls_ca is None:
            return None
        cert, key, ca = (self.variable(field) for field in _CERTIFICATES)
        return CertificateFiles(self.tls_cert, self.tls_key, self.tls_ca, variables=(cert, key, ca))

    @property
    def collector_url(self) -> str:
        """Where spans are sent; empty where there are to be none."""
        if self.otel_exporter_otlp_traces_endpoint or not self.otel_exporter_otlp_endpoint:
            return self.otel_exporter_otlp_traces_endpoint
        return f"{self.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces"

    @property
    def sampling(self) -> Sampling:
        """Which traces are recorded."""
        part = self.otel_traces_sampler_arg
        return Sampling(self.otel_traces_sampler, self.traced[self.pace] if part is None else part)

    @classmethod
    def load(cls, **given: Any) -> Self:
        """The settings that the environment asks for, except for those that are given.

        Raises SettingsError with one line that names each bad variable, its value and what is allowed.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsError("; ".join(_explain(cls, detail) for detail in error.errors())) from None


def _explain(cls: type[ServiceSettings], detail: Any) -> str:
    if not detail["loc"]:
        return str(detail["ctx"]["error"])
    name = str(detail["loc"][0])
    variable = cls.variable(name)
    if not cls.model_fields[name].repr:
        return f"{variable} is not allowed: it must be {cls.model_fields[name].description}"
    value = str(detail["input"])
    for secret, replacement in _SECRETS:
        value = secret.sub(replacement, value)
    return f"{variable}={value!r} is not allowed: it must be {cls.model_fields[name].description}"
