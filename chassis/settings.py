"""Settings read once from the environment, checked, and frozen.

A settings class is a table with one field for each variable. A field has the default, how the text of the variable is
read, what is allowed, and what the variable is for: errors and docs/configuration.md are made from the same words. The
files that variables name, with certificates or a secret, are read and checked here, too.
"""

import contextlib
import os
import re
import socket
import ssl
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn, Self

# A host name or address; an IPv6 address stands in brackets.
HOST_PATTERN = r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])"

# A TCP port to connect to, 1 to 65535.
PORT_PATTERN = r"(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"

_COLLECTOR_URL = rf"https?://(?:[^\s/?#]*@)?{HOST_PATTERN}(?::{PORT_PATTERN})?(?:/[^\s?#]*)?"

# What stands before an @ or, where that was forgotten, after a colon that no host precedes; and a password option.
_SECRETS = (
    (re.compile(r"^([\w-]+://)?.*@", re.DOTALL), r"\1***@"),
    (re.compile(r"(?<=://:).*", re.DOTALL), "***"),
    (re.compile(r"(?<=password=)[^&]*"), "***"),
)

MAX_SECRET_BYTES = 4_096

# Certificates may be renewed while they are read, one file after the other.
_READ_ATTEMPTS = 3

# Of a variable's name this short, a letter too many or another letter makes a word that other programs may use: PORTS
# and POST from PORT.
_SHORT_NAME = 4


class SettingsError(Exception):
    """A variable has a value that is not allowed. The message is one line."""


def refusal(variable: str, value: object, allowed: str, cause: str | None = None) -> SettingsError:
    """Return the error for a variable with a value that is not allowed."""
    because = f" ({cause})" if cause else ""
    return SettingsError(f"{variable}={str(value)!r} is not allowed: it must be {allowed}{because}")


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
    """Lines for people, or one JSON object per line."""

    CONSOLE = "console"
    JSON = "json"


class ByPace(NamedTuple):
    """A default that depends on the pace."""

    classic: Any
    full: Any


class Field(NamedTuple):
    """One variable."""

    # The value, a function that returns it, or ByPace with two of these.
    default: Any
    # Returns the value that a text means. Raises ValueError when it is not allowed.
    read: Callable[[str], object]
    allowed: str
    meaning: str
    bounds: tuple[float, float] = (0, 0)
    is_secret: bool = False

    def default_at(self, pace: Pace) -> Any:
        """Return the default value at a pace."""
        default = self.default[pace is Pace.FULL] if isinstance(self.default, ByPace) else self.default
        return default() if callable(default) else default


def field(default: Any, read: Callable[[str], object], allowed: str, meaning: str, **more: Any) -> Any:
    """Return a field that reads texts with a function of its own."""
    return Field(default, read, allowed, meaning, **more)


def whole(default: Any, minimum: int, maximum: int, unit: str, meaning: str) -> Any:
    """Return a field for a whole number."""
    allowed = f"a whole number from {minimum} to {maximum} ({unit})"
    return field(default, _bounded(int, minimum, maximum), allowed, meaning, bounds=(minimum, maximum))


def number(default: Any, minimum: float, maximum: float, unit: str, meaning: str) -> Any:
    """Return a field for a finite number."""
    allowed = f"a number from {minimum:g} to {maximum:g} ({unit})"
    return field(default, _bounded(float, minimum, maximum), allowed, meaning, bounds=(minimum, maximum))


def text(default: Any, pattern: str, allowed: str, meaning: str, *, is_secret: bool = False) -> Any:
    """Return a field for a string that matches all of a pattern; no error shows a secret one."""

    def read(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError
        return value

    return field(default, read, allowed, meaning, is_secret=is_secret)


def one_of(default: Word, meaning: str) -> Any:
    """Return a field for one word of an enumeration."""
    return field(default, type(default), " or ".join(type(default)), meaning)


def path(what: str, meaning: str) -> Any:
    """Return a field for the path of a file; an empty text means none, as compose passes on what is set to nothing."""
    return field(None, lambda value: Path(value) if value else None, f"the path of {what}, or nothing", meaning)


def tcp_port(default: int, meaning: str) -> Any:
    """Return a field for a TCP port to listen on; 0 lets the system choose."""
    return whole(default, 0, 65_535, "TCP port, 0 for any free one", meaning)


def _collector_url(meaning: str) -> Any:
    return text("", f"|{_COLLECTOR_URL}", "http://HOST:PORT, https://… or nothing", meaning)


def _protocol(meaning: str) -> Any:
    return text("http/protobuf", "http/protobuf", "http/protobuf", meaning)


def _bounded(read: Callable[[str], float], minimum: float, maximum: float) -> Callable[[str], float]:
    def bounded(value: str) -> float:
        if minimum <= (found := read(value)) <= maximum:  # nan is not
            return found
        raise ValueError

    return bounded


# Each process of a service has its own, and `make run` and Kubernetes set variables with such names themselves:
# RNG_PORT is where the first rng listens, or a Service's address.
_OF_ONE_PROCESS = frozenset({"port", "metrics_port", "instance"})


class Settings:
    """A table of settings. Attributes of the class that are fields are values in its instances."""

    # The service's name, with which RNG_DELAY sets DELAY for rng alone; empty where there are no such variables.
    service: ClassVar[str] = ""

    # Other defaults than the parent class has, by field.
    defaults: ClassVar[Mapping[str, Any]] = {}

    fields: ClassVar[Mapping[str, Field]] = {}

    def __init_subclass__(cls) -> None:
        """Collect the fields, those of the parent class first."""
        fields = {**cls.fields, **{name: each for name, each in vars(cls).items() if isinstance(each, Field)}}
        cls.fields = fields | {name: fields[name]._replace(default=value) for name, value in cls.defaults.items()}

    def __init__(self, **given: object) -> None:
        """Read and check the given values, None being the default, whatever the environment has.

        Raises SettingsError with one line that names each bad variable, its value and what is allowed.
        """
        if unknown := given.keys() - self.fields.keys():
            raise TypeError(f"no such setting: {', '.join(unknown)}")
        texts = self.in_effect({name: str(value) for name, value in given.items() if value is not None})
        values: dict[str, Any] = {}
        errors = []
        for name, each in self.fields.items():
            try:
                pace = values.get("pace", Pace.CLASSIC)
                values[name] = each.read(texts[name]) if name in texts else each.default_at(pace)
            except ValueError:
                errors.append(f"{self._shown(name, texts[name])} is not allowed: it must be {each.allowed}")
        if errors:
            raise SettingsError("; ".join(errors))
        vars(self).update(values)
        self.check()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: settings are frozen."""
        raise AttributeError(f"{type(self).__name__}.{name} is frozen")

    @classmethod
    def load(cls, **given: object) -> Self:
        """Return the settings that the environment names, except for those that are given.

        Raises SettingsError as the constructor does.
        """
        found = {name: os.environ[cls.variable(name)] for name in cls.fields if cls.is_set(name)}
        return cls(**found | given)

    @classmethod
    def in_effect(cls, texts: Mapping[str, str]) -> Mapping[str, str]:
        """Return the texts to read, by field. Raises SettingsError."""
        return texts

    def check(self) -> None:
        """Raise SettingsError if values do not fit together."""

    @classmethod
    def is_set(cls, name: str) -> bool:
        """Whether a variable sets the field."""
        return cls.variable(name) in os.environ

    @classmethod
    def variable(cls, name: str) -> str:
        """Return the name of the variable that a field is read from: the service's own where that is set."""
        own = cls.own_variable(name)
        return own if own in os.environ else name.upper()

    @classmethod
    def own_variable(cls, name: str) -> str:
        """Return the name of the variable that sets the field for this service alone; empty where there is none."""
        # The names of OpenTelemetry are its own, and most of them are read by its SDK.
        shared = not cls.service or name in _OF_ONE_PROCESS or name.startswith("otel_")
        return "" if shared else f"{cls.service}_{name}".upper()

    @classmethod
    def variables(cls) -> set[str]:
        """Return the names of all variables that are read."""
        return {name.upper() for name in cls.fields} | ({cls.own_variable(name) for name in cls.fields} - {""})

    @classmethod
    def _shown(cls, name: str, value: str) -> str:
        if cls.fields[name].is_secret:
            return cls.variable(name)
        for secret, replacement in _SECRETS:
            value = secret.sub(replacement, value)
        return f"{cls.variable(name)}={value!r}"


def read_secret(variable: str, path: Path, what: str) -> str:
    """Return the line that a file holds, a password or whatever `what` calls it. Raises SettingsError."""
    cause: str | None = None
    found = ""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        found = content.decode().removesuffix("\n")
    except OSError as error:
        cause = error.strerror
    except UnicodeDecodeError:
        cause = "it is no UTF-8"
    else:
        if len(content) > MAX_SECRET_BYTES:
            cause = f"it has more than {MAX_SECRET_BYTES} bytes"
        elif not found:
            cause = "it is empty"
        elif not found.isprintable():
            cause = "it has a second line, or other characters that can't be printed"
    if cause is not None:
        raise refusal(variable, path, f"a file with the {what} in one line", cause)
    return found


@dataclass(frozen=True)
class Certificates:
    """What one end of a TLS connection shows, and the authority that it trusts, all in PEM."""

    chain: bytes
    key: bytes = dataclass_field(repr=False)
    authority: bytes


@dataclass(frozen=True)
class CertificateFiles:
    """The three PEM files of one end of a TLS connection, with the names of the variables that their paths are from."""

    cert: Path
    key: Path
    ca: Path
    variables: tuple[str, str, str] = dataclass_field(default=("TLS_CERT", "TLS_KEY", "TLS_CA"), kw_only=True)

    def read(self) -> Certificates:
        """Return the content of the files. Raises SettingsError where they hold no certificates, or another key."""
        cert, private_key, ca = self.variables
        for _ in range(_READ_ATTEMPTS):
            before = self.state()
            chain, key, authority = _read(cert, self.cert), _read(private_key, self.key), _read(ca, self.ca)
            _check_certificates(cert, self.cert, chain)
            _check_certificates(ca, self.ca, authority)
            self._check_key()
            if before == self.state():
                return Certificates(chain, key, authority)
        raise SettingsError(f"{cert}={str(self.cert)!r} can't be read: the files keep changing")

    def state(self) -> tuple[tuple[int, int, int], ...]:
        """Return something that changes when one of the files does."""
        return tuple(_state(path) for path in (self.cert, self.key, self.ca))

    def _check_key(self) -> None:
        try:
            # With a passphrase, because otherwise OpenSSL prompts for one.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert, self.key, password="")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            cert, key, _ = self.variables
            pair = f"the private key of the certificate in {cert}={str(self.cert)!r}, in PEM and without a passphrase"
            raise refusal(key, self.key, pair, getattr(error, "reason", None)) from None


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _read(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError as error:
        cause = error.strerror
        with contextlib.suppress(OSError):  # its folder may not even be searched
            found = path.stat()
            cause = f"its mode is {stat.S_IMODE(found.st_mode):04o} and its owner is uid {found.st_uid}"
        raise refusal(variable, path, f"readable for uid {os.geteuid()}", cause) from None
    except OSError as error:
        raise refusal(variable, path, "a file that can be read", error.strerror) from None


def _check_certificates(variable: str, path: Path, content: bytes) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("ascii"))
    except (ssl.SSLError, ValueError):  # ValueError for bytes that are no ASCII, and for an empty file
        raise refusal(variable, path, "a file of certificates in PEM") from None


# Every container is gone 3.5 s after its signal.
STOP_LIMIT_S = 3.2

_CERTIFICATES = ("tls_cert", "tls_key", "tls_ca")

_SAMPLERS = tuple(
    parent + root for parent in ("", "parentbased_") for root in ("always_on", "always_off", "traceidratio")
)


class ServiceSettings(Settings):
    """The settings of every service."""

    # The seconds from the signal to the end; a service may have a setting for it.
    stop_limit: float = STOP_LIMIT_S

    pace: Pace = one_of(Pace.CLASSIC, "The workshop's pace, or as fast as it goes; it decides other defaults.")
    bind_address: str = field(
        "127.0.0.1",
        lambda value: str(ip_address(value)),  # no name: gRPC listens on all addresses of one, Python on the first
        "an IPv4 or IPv6 address to listen on, 0.0.0.0 or :: for all",
        "The IP address that all ports of a service listen on; `::` is all of IPv4 and IPv6.",
    )
    instance: str = text(
        socket.gethostname,
        r"[A-Za-z0-9_.-]{1,63}",  # metadata is ASCII, and \w is not
        "1 to 63 of the letters A to Z, digits, - . _",
        "The replica's name. It must be unique: workers distinguish replicas by it. `make run` sets `rng-1`, `rng-2` …",
    )
    log_level: LogLevel = one_of(LogLevel.INFO, "The least severe level that is logged.")
    log_format: LogFormat = one_of(LogFormat.CONSOLE, "Lines for people, or one JSON object per line.")
    metrics_port: int = tcp_port(0, "The port of `/metrics`, `/healthz` and `/readyz`.")
    tls_cert: Path | None = path(
        "a PEM file with the certificate that this service shows",
        "With `TLS_KEY` and `TLS_CA`, turns on mutual TLS between the services. Not with `make run`.",
    )
    tls_key: Path | None = path("a PEM file with the key of that certificate", "The key of `TLS_CERT`.")
    tls_ca: Path | None = path(
        "a PEM file with the certificate of the authority that is trusted", "The authority that peers must be from."
    )
    otel_sdk_disabled: str = field("false", str, "true, or anything else", "With `true` there are no traces.")
    otel_traces_exporter: str = text("otlp", "otlp", "otlp or none", "With `none` there are no traces.")
    otel_exporter_otlp_endpoint: str = _collector_url(
        "The collector of [traces](tracing.md), such as `http://localhost:4318`; without one there are none."
    )
    otel_exporter_otlp_traces_endpoint: str = _collector_url(
        "The same, as the whole URL with its path; it wins over `OTEL_EXPORTER_OTLP_ENDPOINT`."
    )
    otel_exporter_otlp_protocol: str = _protocol("The protocol of the collector; there is no other.")
    otel_exporter_otlp_traces_protocol: str = _protocol("The same; it wins over `OTEL_EXPORTER_OTLP_PROTOCOL`.")
    otel_traces_sampler: str = text(
        _SAMPLERS[-1], "|".join(_SAMPLERS), " or ".join(_SAMPLERS), "How traces are sampled, in OpenTelemetry's words."
    )
    # Three batches per second can be looked at one by one, thousands can't.
    otel_traces_sampler_arg: float = number(
        ByPace(1, 0.01), 0, 1, "part of the traces", "The part of the batches and reports that is traced."
    )

    @classmethod
    def in_effect(cls, texts: Mapping[str, str]) -> Mapping[str, str]:
        """Leave out the variables of OpenTelemetry that have no effect, by the rules of its specification.

        An empty variable is unset, words are in any case, and a variable for traces replaces the one for all signals.
        Without a collector none has an effect: they may be meant for other programs, and must not stop a service.

        https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and
        https://opentelemetry.io/docs/specs/otel/protocol/exporter/
        """
        otel = {name: value for name, value in texts.items() if name.startswith("otel_") and value}
        others = {name: value for name, value in texts.items() if not name.startswith("otel_")}
        for name in otel.keys() - {"otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint"}:
            otel[name] = otel[name].strip().lower()
        for name in ("endpoint", "protocol"):
            if f"otel_exporter_otlp_traces_{name}" in otel:
                otel.pop(f"otel_exporter_otlp_{name}", None)
        has_collector = {"otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint"} & otel.keys()
        is_off = otel.get("otel_sdk_disabled") == "true" or otel.get("otel_traces_exporter") == "none"
        return others | otel if has_collector and not is_off else others

    def check(self) -> None:
        """Raise SettingsError for certificates that are not complete, or can't be used."""
        paths = {self.variable(name): getattr(self, name) for name in _CERTIFICATES}
        missing = [name for name, value in paths.items() if value is None]
        if 0 < len(missing) < len(paths):
            named = ", ".join(f"{name}={str(value)!r}" for name, value in paths.items() if value is not None)
            raise SettingsError(f"{named} is not allowed without {' and '.join(missing)}: set all three, or none")
        if self.tls is not None:
            self.tls.read()

    @property
    def tls(self) -> CertificateFiles | None:
        """The files to encrypt with; without them nothing is encrypted."""
        if self.tls_cert is None or self.tls_key is None or self.tls_ca is None:
            return None
        cert, key, ca = map(self.variable, _CERTIFICATES)
        return CertificateFiles(self.tls_cert, self.tls_key, self.tls_ca, variables=(cert, key, ca))

    @property
    def collector_url(self) -> str:
        """Where spans are sent; empty where there are to be none."""
        if self.otel_exporter_otlp_traces_endpoint or not self.otel_exporter_otlp_endpoint:
            return self.otel_exporter_otlp_traces_endpoint
        return f"{self.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces"


def misspelled(names: Iterable[str], known: Iterable[str]) -> Mapping[str, str]:
    """Return the names that are not known and one edit away from one that is, with that one: PCAE for PACE.

    An edit is a letter too many, one too few, one for another, or two that have changed places. Of a short name only
    one too few and two that have changed places count, since the others make words.
    """
    known = set(known)
    unknown = sorted(name for name in names if name not in known)
    return {name: meant for name in unknown for meant in sorted(known, reverse=True) if _is_near(name, meant)}


def _is_near(name: str, meant: str) -> bool:
    if abs(len(name) - len(meant)) > 1:
        return False
    start = next((at for at, (a, b) in enumerate(zip(name, meant, strict=False)) if a != b), min(len(name), len(meant)))
    name_end, meant_end = name[start:], meant[start:]
    one_too_few = name_end == meant_end[1:]
    swapped = name_end[:2] == meant_end[1::-1] and name_end[2:] == meant_end[2:]
    one_too_many_or_another = name_end[1:] in {meant_end, meant_end[1:]}
    return one_too_few or swapped or (len(meant) > _SHORT_NAME and one_too_many_or_another)
