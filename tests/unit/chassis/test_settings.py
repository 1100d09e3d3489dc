import os
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from chassis import log, process
from chassis.settings import LogFormat, LogLevel, Pace, ServiceSettings, Settings, SettingsError, misspelled
from hasher_svc.settings import HasherSettings
from local_run import programs
from local_run.programs import SERVICES
from local_run.settings import LocalRunSettings
from rng_svc.settings import RngSettings
from webui_svc.settings import WebuiSettings
from worker_svc.settings import MAX_IN_FLIGHT_BYTES, WorkerSettings

ALL: list[type[Settings]] = [*SERVICES.values(), LocalRunSettings]
NUMBERS = [
    (settings, name.upper())
    for settings in ALL
    for name, field in settings.fields.items()
    if field.bounds != (0, 0) and not name.startswith("otel_")
]
OTLP = "OTEL_EXPORTER_OTLP"
COLLECTOR = {f"{OTLP}_ENDPOINT": "http://collector:4318"}
SPANS_URL = "http://collector:4318/v1/traces"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in set().union(*(settings.variables() for settings in ALL)):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def refusal(settings: type[Settings], **variables: str) -> str:
    with patch.dict(os.environ, variables), pytest.raises(SettingsError) as error:
        settings.load()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_pace_decides_defaults() -> None:
    rng, hasher, worker = RngSettings(), HasherSettings(), WorkerSettings()
    assert (rng.delay, rng.concurrency, hasher.delay, hasher.concurrency) == (0.1, 1, 0.1, 0)
    assert (worker.delay, worker.batch_size, worker.window_size, worker.message_size) == (0.1, 1, 1, 32)
    rng, hasher, worker = RngSettings(pace="full"), HasherSettings(pace="full"), WorkerSettings(pace="full")
    assert (rng.delay, rng.concurrency, hasher.delay, hasher.concurrency) == (0, 4, 0, 4)
    assert (worker.delay, worker.autotunes, worker.allows(worker.initial_sizes)) == (0, True, True)


@pytest.mark.parametrize("pace", list(Pace))
@pytest.mark.parametrize("delay", [0, 0.25])
def test_a_single_setting_overrides_the_pace_and_no_other_setting(pace: Pace, delay: float) -> None:
    assert vars(HasherSettings(pace=pace, delay=delay)) == vars(HasherSettings(pace=pace)) | {"delay": delay}


@pytest.mark.parametrize(("service", "settings"), SERVICES.items())
def test_a_setting_of_one_service_wins_over_that_of_all(
    environment: pytest.MonkeyPatch, service: str, settings: type[ServiceSettings]
) -> None:
    for each in SERVICES:
        environment.setenv(f"{each.upper()}_LOG_LEVEL", "debug" if each == service else "error")
    environment.setenv("LOG_LEVEL", "warning")
    environment.setenv("PACE", "classic")
    environment.setenv(f"{service.upper()}_PACE", "full")
    assert settings.load().pace is Pace.FULL
    assert settings.load().log_level is LogLevel.DEBUG
    assert settings.load(log_level="info").log_level is LogLevel.INFO
    environment.delenv(f"{service.upper()}_LOG_LEVEL")
    assert settings.load().log_level is LogLevel.WARNING


@pytest.mark.parametrize("settings", SERVICES.values())
def test_variables_of_other_programs_change_nothing(
    environment: pytest.MonkeyPatch, settings: type[ServiceSettings]
) -> None:
    """A Service of Kubernetes, what `make run` takes, conda, GNU screen and attributes that are no settings."""
    for service in SERVICES:
        environment.setenv(f"{service.upper()}_PORT", "tcp://10.0.0.1:50051")
        environment.setenv(f"{service.upper()}_METRICS_PORT", "x")
        environment.setenv(f"{service.upper()}_INSTANCE", "")
    for name in ("HOST", "WINDOW", "FIELDS", "SERVICE"):
        environment.setenv(name, "nonsense")
    assert vars(settings.load()) == vars(settings())


def test_words_may_be_written_in_any_case() -> None:
    settings = RngSettings(log_level="INFO", log_format="Json", pace="FULL")
    assert (settings.log_level, settings.log_format, settings.pace) == (LogLevel.INFO, LogFormat.JSON, Pace.FULL)


REFUSED: dict[tuple[type[Settings], str], Sequence[str]] = {
    **dict.fromkeys(NUMBERS, ("many", "", "1s", "0x10", "nan", "inf", "-inf", "-1", "1e300", "\udcff")),
    (WorkerSettings, "PACE"): ["leisurely", "", "Classic ", "classic,full", "clássic"],
    (RngSettings, "INSTANCE"): ["", "two words", "a/b", "ünï", "x" * 64, "line\nbreak", "line\n"],
    (RngSettings, "BIND_ADDRESS"): ["", "two words", "localhost", "256.0.0.1", "127.1", "[::1]", "::/0"],
    (WorkerSettings, "RNG_TARGET"): [
        "", "rng:", ":50051", "50051", "dns:///", "dns:///rng", "dns:///rng:port", "dns:///a b:1", "http://rng:50051",
        "ipv4:127.0.0.1", "ipv4:127.0.0.1:1,", "ipv6:[::1]", "dns:///rng:50051\n", "unix:", "dns:///rng:0",
        "dns:///rng:65536", "ipv4:rng:50051", "ipv4:256.0.0.1:1", "ipv4:[::1]:1", "ipv6:127.0.0.1:1",
    ],
    (WebuiSettings, "REDIS_URL"): [
        "", " ", "redis:6379", "redis://", "redis:///0", "http://redis:6379", "redis://redis:port",
        "redis://redis:6379 ", "redis://redis?db=abc", "unix:///a?x=y", "redis://re dis", "unix://", "redis://redis:65536",
        "redis-sentinel://one:26379", "redis-sentinel:///coins", "redis-cluster://", "redis-cluster://one:0",
    ],
    (WebuiSettings, "REDIS_PREFIX"): ["co*ns", "[a]", "a b", "x" * 65],
    (LocalRunSettings, "REDIS_URL"): ["", "localhost"],
    (LocalRunSettings, "DATA_DIR"): ["", " "],
}  # fmt: skip


@pytest.mark.parametrize(("settings", "name"), REFUSED)
def test_a_refused_value_is_shown_with_what_is_allowed(settings: type[Settings], name: str) -> None:
    allowed = settings.fields[name.lower()].allowed
    for value in REFUSED[settings, name]:
        assert refusal(settings, **{name: value}) == f"{name}={value!r} is not allowed: it must be {allowed}"


@pytest.mark.parametrize(("settings", "name"), NUMBERS)
def test_a_number_is_taken_at_its_bounds_and_refused_beyond(settings: type[Settings], name: str) -> None:
    for bound, beyond in zip(settings.fields[name.lower()].bounds, (-0.001, 1), strict=True):
        assert getattr(settings(**{name.lower(): bound}), name.lower()) == bound
        assert refusal(settings, **{name: str(bound + beyond)}).startswith(f"{name}=")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("hasher_target", value) for value in (
            "hasher:50151", "[::1]:50151", "dns:hasher:50151",
            "dns://127.0.0.1:5353/hasher.test:50151", "ipv4:127.0.0.1:1,127.0.0.1:2",
            "ipv6:[::1]:1,[::1]:2", "unix:/run/hasher.sock",
        )),
        *(("redis_url", value) for value in (
            "redis://redis", "redis://127.0.0.1:1/2", "rediss://user:pass@redis.example:6380/0", "redis://[::1]:6379",
            "unix:///run/redis.sock?db=1", "redis-sentinel://one:26379,two/coins", "rediss-sentinel://:secret@one/coins",
            "redis-cluster://one:7000,[::1]:7001,three", "redis-cluster://one/",
        )),
        ("bind_address", "::"), ("bind_address", "0.0.0.0"),
    ],
)  # fmt: skip
def test_a_text_of_the_right_kind_is_taken(name: str, value: str) -> None:
    assert getattr(WorkerSettings(**{name: value}), name) == value


@pytest.mark.parametrize(
    "value",
    ["http://:s3cret@redis:6379", "redis://user:s3cret@redis:6379 ", "redis://user:p@s3cret@redis:port",
     "redis://user:p/s3cret@redis:port", "redis:/:s3cret@redis", ":s3cret@redis:6379", "redis://:s3cret",
     "redis://redis:port?password=s3cret", "redis://u:p\ns3cret@redis", "redis-sentinel://worker:s3cret@one:26379"],
)  # fmt: skip
def test_an_error_never_shows_a_password(value: str) -> None:
    message = refusal(WorkerSettings, REDIS_URL=value)
    assert message.startswith("REDIS_URL=")
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("settings", "variables", "expected"),
    [
        (RngSettings, {"RNG_DELAY": "soon", "DELAY": "later"}, "RNG_DELAY='soon' is not allowed: "),
        (HasherSettings, {"FAULT_ERROR_RATE": "0.7", "HASHER_FAULT_HANG_RATE": "0.7"},
         "FAULT_ERROR_RATE=0.7 + HASHER_FAULT_HANG_RATE=0.7 is not allowed: "),
        (WorkerSettings, {"WORKER_BATCH_SIZE": "65536", "MESSAGE_SIZE": "33"},
         "WORKER_BATCH_SIZE=65536 x MESSAGE_SIZE=33 is not allowed: a batch must be at most 2097152 bytes"),
        (RngSettings, {"RNG_TLS_CERT": "a", "TLS_CA": "b"},
         "RNG_TLS_CERT='a', TLS_CA='b' is not allowed without TLS_KEY: "),
        (RngSettings, {"RNG_TLS_CERT": "/no", "TLS_KEY": "a", "TLS_CA": "b"}, "RNG_TLS_CERT='/no' is not allowed: "),
        (WorkerSettings, {"REDIS_PASSWORD_FILE": "/no", "WORKER_REDIS_URL": "redis://:s3cret@redis"},
         "REDIS_PASSWORD_FILE='/no' is not allowed beside a password in WORKER_REDIS_URL: one of them must go"),
        (WorkerSettings, {"WORKER_REDIS_PASSWORD_FILE": "/no"}, "WORKER_REDIS_PASSWORD_FILE='/no' is not allowed: "),
        (WebuiSettings, {"WEBUI_REDIS_PREFIX": "a", "REDIS_URL": "redis-cluster://redis:6379"},
         "WEBUI_REDIS_PREFIX='a' is not allowed with a cluster"),
        (WebuiSettings, {"WEBUI_TOKEN": "s3cret"}, "WEBUI_TOKEN is not allowed: it must be 16 to 256 of letters"),
        (WebuiSettings, {"WEBUI_TOKEN_FILE": "/no"}, "WEBUI_TOKEN_FILE='/no' is not allowed: "),
        (WebuiSettings, {"TOKEN_FILE": "/no", "WEBUI_TOKEN": "x" * 16},
         "TOKEN_FILE='/no' is not allowed beside WEBUI_TOKEN: "),
    ],
)  # fmt: skip
def test_an_error_names_the_variables_that_were_set(
    settings: type[Settings], variables: dict[str, str], expected: str
) -> None:
    message = refusal(settings, **variables)
    assert message.startswith(expected)
    assert "s3cret" not in message


def test_one_line_names_all_bad_variables() -> None:
    message = refusal(RngSettings, PACE="none", DELAY="x", PORT="-1")
    assert [part.partition("=")[0] for part in message.split("; ")] == ["PACE", "PORT", "DELAY"]


@pytest.mark.parametrize(
    ("variables", "written"),
    [
        ({"LOG_FORMAT": "console", "RNG_LOG_FORMAT": "JSON"}, ""),
        ({"LOG_FORMAT": "json", "RNG_LOG_FORMAT": "console"}, "rng: DELAY is wrong\n"),
        ({"HASHER_LOG_FORMAT": "json"}, "rng: DELAY is wrong\n"),
    ],
)
def test_an_error_is_plain_text_unless_the_log_of_its_service_is_json(
    environment: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], variables: dict[str, str], written: str
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    environment.setattr(log, "configure", lambda *_, **__: None)
    assert process.refuse("rng", "DELAY is wrong") == process.EXIT_SETTINGS == 2
    assert capfd.readouterr().err == written


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "No such file or directory"),
        (b"\n", "it is empty"),
        (b"secret\nmore\n", "it has a second line, or other characters that can't be printed"),
        (b"secret\xff", "it is no UTF-8"),
        (b"secret" * 1_000, "it has more than 4096 bytes"),
    ],
)
def test_a_file_without_a_secret_is_refused(content: bytes | None, cause: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    message = "{}='{}' is not allowed: it must be a file with the {} in one line ({})"
    for settings, name, what in (
        (WorkerSettings, "REDIS_PASSWORD_FILE", "password"),
        (WebuiSettings, "TOKEN_FILE", "token"),
    ):
        assert refusal(settings, **{name: f"{file}"}) == message.format(name, file, what, cause)


def test_secrets_come_from_files(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef\n")
    settings = WebuiSettings(redis_password_file=file, token_file=file)
    assert (settings.redis.password_file, settings.token) == (file, "0123456789abcdef")
    assert WorkerSettings(redis_password_file="").redis.password_file is None


def test_the_first_batch_and_window_fit_whatever_is_set() -> None:
    worker = WorkerSettings(batch_size=65_536, message_size=32, window_size=4_096)
    assert worker.initial_sizes.window * worker.initial_sizes.batch_size * worker.message_size == MAX_IN_FLIGHT_BYTES
    for message_size in (1, 32, 33, 513, 2 * 1024 * 1024):
        assert (worker := WorkerSettings(pace=Pace.FULL, message_size=message_size)).allows(worker.initial_sizes)
    for window in (1, 512, 513, 4_096):
        assert (worker := WorkerSettings(pace=Pace.FULL, window_size=window)).allows(worker.initial_sizes)


def test_batch_size_and_window_are_autotuned_unless_they_are_set() -> None:
    worker = WorkerSettings(pace="full", batch_size="auto", window_size=5)
    assert (worker.autotunes, worker.initial_sizes.window) == (True, 5)
    worker = WorkerSettings(pace="full", batch_size=100, window_size="auto")
    assert (worker.autotunes, worker.initial_sizes) == (False, (100, 8))
    assert WorkerSettings(pace="classic", batch_size="auto").autotunes


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, ""),
        (COLLECTOR, SPANS_URL),
        ({f"{OTLP}_ENDPOINT": "http://me:secret@[::1]/under/"}, "http://me:secret@[::1]/under/v1/traces"),
        ({f"{OTLP}_TRACES_ENDPOINT": "https://traces/as/it/is/"}, "https://traces/as/it/is/"),
        (COLLECTOR | {f"{OTLP}_TRACES_ENDPOINT": ""}, SPANS_URL),
        ({f"{OTLP}_ENDPOINT": "nonsense", f"{OTLP}_TRACES_ENDPOINT": "http://traces"}, "http://traces"),
        (COLLECTOR | {f"{OTLP}_PROTOCOL": "HTTP/protobuf"}, SPANS_URL),
        (COLLECTOR | {f"{OTLP}_PROTOCOL": "grpc", f"{OTLP}_TRACES_PROTOCOL": "http/protobuf"}, SPANS_URL),
        (COLLECTOR | {"OTEL_SDK_DISABLED": " True "}, ""),
        (COLLECTOR | {"OTEL_SDK_DISABLED": "1"}, SPANS_URL),
        (COLLECTOR | {"OTEL_TRACES_EXPORTER": "None"}, ""),
        (COLLECTOR | {"OTEL_TRACES_EXPORTER": ""}, SPANS_URL),
    ],
)
def test_spans_are_sent_where_the_variables_say(variables: dict[str, str], url: str) -> None:
    assert ServiceSettings(**{name.lower(): value for name, value in variables.items()}).collector_url == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (f"{OTLP}_PROTOCOL", "grpc"),
        (f"{OTLP}_TRACES_PROTOCOL", "grpc"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "endpoint=http://jaeger:14250"),
    ],
)
def test_a_value_for_other_programs_is_an_error_only_with_a_collector(name: str, value: str) -> None:
    message = refusal(RngSettings, **COLLECTOR, **{name: value})
    assert message.startswith(f"{name}={value!r} is not allowed: it must be ")
    for variables in ({name: value}, {name: value, "OTEL_SDK_DISABLED": "true", **COLLECTOR}):
        assert not ServiceSettings(**{each.lower(): text for each, text in variables.items()}).collector_url


KNOWN = LocalRunSettings.variables() | programs.variables()
OF_OTHERS = """
    PATH HOME HOST HOSTNAME HOSTTYPE USER LOGNAME SHELL TERM LANG TZ PWD MAIL PAGER LESS LINES TMP WINDOW STY COLORS
    SSH_AUTH_SOCK LISTEN_FDS NOTIFY_SOCKET MAKEFLAGS MAKELEVEL CC CFLAGS PYTHONPATH VIRTUAL_ENV CONDA_PREFIX HTTP_PROXY
    NO_PROXY GRPC_TRACE POST PORTS PART SORT PAGE PACK PLACE RACE FACE SPACE STREAM_ID TAG REGISTRY PROMETHEUS_PORT
    RNG_PORT RNG_SERVICE_PORT RNG_PORT_50051_TCP WEBUI_SERVICE_PORT REDIS_SERVICE_HOST KUBERNETES_PORT DOCKER_HOST
    COMPOSE_FILE CI GITHUB_TOKEN OTEL_SERVICE_NAME OTEL_LOGS_EXPORTER OTEL_METRICS_EXPORTER OTEL_EXPORTER_OTLP_HEADERS
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_EXPORTER_OTLP_METRICS_ENDPOINT OTEL_BSP_SCHEDULE_DELAY
"""


@pytest.mark.parametrize(
    ("name", "meant"),
    [("PCAE", "PACE"), ("PAC", "PACE"), ("PROT", "PORT"), ("WORKER", "WORKERS"), ("RNG", "RNGS"),
     ("WORKERSS", "WORKERS"), ("DELAX", "DELAY"), ("LOGLEVEL", "LOG_LEVEL"), ("XBATCH_SIZE", "BATCH_SIZE"),
     ("RGN_DELAY", "RNG_DELAY"), ("HASHER_FAULTS_SLOW", "HASHER_FAULT_SLOW")],
)  # fmt: skip
def test_a_name_one_edit_away_from_a_known_one_is_misspelled(name: str, meant: str) -> None:
    assert misspelled(["PATH", name, "HOME"], KNOWN) == {name: meant}


@pytest.mark.parametrize("name", ["PCEA", "WORK", "WORKERZZ", "DELYA_", "EDLYA", "WOKRESR", ""])
def test_a_name_two_edits_away_is_not_misspelled(name: str) -> None:
    assert misspelled([name], KNOWN) == {}


def test_names_of_other_programs_are_not_misspelled() -> None:
    others = set(OF_OTHERS.split())
    assert misspelled(others, KNOWN - others) == {}


def test_no_known_name_is_a_misspelling_of_another() -> None:
    """So a setting of one service is not reported by another one that has it in its environment, too."""
    assert [name for name in KNOWN if misspelled([name], KNOWN - {name})] == []
