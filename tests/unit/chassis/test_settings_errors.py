"""Every way a variable can be wrong, for every service: one line that names it, its value and what is allowed."""

import os

import pytest

from chassis import log, process
from chassis.settings import LogFormat, ServiceSettings, SettingsError
from hasher_svc.settings import HasherSettings
from rng_svc.settings import RngSettings
from webui_svc.settings import WebuiSettings
from worker_svc.settings import WorkerSettings

SERVERS = (RngSettings, HasherSettings)
ALL = (*SERVERS, WorkerSettings, WebuiSettings)

PORTS = [(settings, "PORT") for settings in (*SERVERS, WebuiSettings)] + [(each, "METRICS_PORT") for each in ALL]
COUNTS = [
    *((settings, "CONCURRENCY", 1_024) for settings in SERVERS),
    (WorkerSettings, "BATCH_SIZE", 65_536),
    (WorkerSettings, "MESSAGE_SIZE", 2 * 1024 * 1024),
    (WorkerSettings, "WINDOW_SIZE", 4_096),
    (WorkerSettings, "MAX_ENDPOINTS", 1_024),
    (WorkerSettings, "DIFFICULTY_BITS", 256),
    (WorkerSettings, "WALLET_LIMIT", 10_000_000),
]
SECONDS = [
    *((settings, "DELAY", 10) for settings in SERVERS),
    (WorkerSettings, "DELAY", 60),
    (WorkerSettings, "REPORT_INTERVAL", 60),
]
NOT_ZERO = ("BATCH_SIZE", "MESSAGE_SIZE", "WINDOW_SIZE", "MAX_ENDPOINTS", "DIFFICULTY_BITS", "REPORT_INTERVAL")
WORDS = [(settings, name) for settings in ALL for name in ("PACE", "LOG_LEVEL", "LOG_FORMAT")]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if any(name in settings.variables() for settings in ALL):
            monkeypatch.delenv(name)


def refusal(monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], **env: str) -> str:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        settings.load()
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("value", ["many", "", "1.5", "0x10", "1e3", "nan", "inf", "-1"])
@pytest.mark.parametrize(("settings", "name", "maximum"), [*COUNTS, *((*port, 65_535) for port in PORTS)])
def test_a_count_that_is_no_whole_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], name: str, maximum: int, value: str
) -> None:
    message = refusal(monkeypatch, settings, **{name: value})
    assert message.startswith(f"{name}={value!r} is not allowed: it must be a whole number from ")
    assert f" to {maximum} (" in message


@pytest.mark.parametrize(("settings", "name", "maximum"), [*COUNTS, *((*port, 65_535) for port in PORTS)])
def test_a_count_is_taken_at_its_maximum_and_refused_above(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], name: str, maximum: int
) -> None:
    if name == "MESSAGE_SIZE":
        monkeypatch.setenv("BATCH_SIZE", "1")
    monkeypatch.setenv(name, str(maximum))
    assert getattr(settings.load(), name.lower()) == maximum
    assert f"{name}='{maximum + 1}' is not allowed" in refusal(monkeypatch, settings, **{name: str(maximum + 1)})
    assert f"{name}='{10**30}' is not allowed" in refusal(monkeypatch, settings, **{name: str(10**30)})


@pytest.mark.parametrize("value", ["soon", "", "1s", "nan", "inf", "-inf", "-0.1", "1e300"])
@pytest.mark.parametrize(("settings", "name", "maximum"), SECONDS)
def test_a_time_that_is_no_number_in_bounds_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], name: str, maximum: int, value: str
) -> None:
    message = refusal(monkeypatch, settings, **{name: value})
    assert message.startswith(f"{name}={value!r} is not allowed: it must be a number from ")
    assert f" to {maximum} (seconds" in message


@pytest.mark.parametrize(("settings", "name", "maximum"), SECONDS)
def test_a_time_is_taken_at_its_maximum_and_refused_above(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], name: str, maximum: int
) -> None:
    monkeypatch.setenv(name, str(maximum))
    assert getattr(settings.load(), name.lower()) == maximum
    refusal(monkeypatch, settings, **{name: str(maximum + 0.001)})


@pytest.mark.parametrize("name", NOT_ZERO)
def test_zero_is_refused_where_nothing_would_move(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert refusal(monkeypatch, WorkerSettings, **{name: "0"}).startswith(f"{name}='0' is not allowed: it must be a")


@pytest.mark.parametrize(
    ("settings", "name"),
    [*((each, name) for each in SERVERS for name in ("PORT", "METRICS_PORT", "DELAY", "CONCURRENCY")),
     (WorkerSettings, "DELAY"), (WorkerSettings, "WALLET_LIMIT")],
)  # fmt: skip
def test_zero_is_taken_where_it_means_something(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], name: str
) -> None:
    monkeypatch.setenv(name, "0")
    assert getattr(settings.load(), name.lower()) == 0


@pytest.mark.parametrize("value", ["leisurely", "", "Classic ", "classic,full", "clássic"])
@pytest.mark.parametrize(("settings", "name"), WORDS)
def test_an_unknown_word_is_refused_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], name: str, value: str
) -> None:
    message = refusal(monkeypatch, settings, **{name: value})
    allowed = {"PACE": "classic or full", "LOG_LEVEL": "debug or info or warning or error"}
    assert message == f"{name}={value!r} is not allowed: it must be {allowed.get(name, 'console or json')}"


@pytest.mark.parametrize("value", ["", "two words", "a/b", "ünï", "x" * 64, "line\nbreak", "line\n"])
@pytest.mark.parametrize("settings", ALL)
def test_an_instance_that_metadata_could_not_carry_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], value: str
) -> None:
    assert refusal(monkeypatch, settings, INSTANCE=value).startswith(f"INSTANCE={value!r} is not allowed: ")


@pytest.mark.parametrize("value", ["", "two words", "localhost", "256.0.0.1", "127.1", "[::1]", "::/0"])
@pytest.mark.parametrize("settings", ALL)
def test_what_is_no_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], value: str
) -> None:
    assert refusal(monkeypatch, settings, BIND_ADDRESS=value).startswith(f"BIND_ADDRESS={value!r} is not allowed: ")


@pytest.mark.parametrize(
    "value",
    ["", "rng", "50051", "rng:", ":50051", "http://rng:50051/",
     "dns:///", "dns:///rng", "dns:///rng:", "dns:///rng:port", "dns:///a b:1",
     "http://rng:50051", "ipv4:127.0.0.1", "ipv4:127.0.0.1:1,", "ipv4:127.0.0.1:1;127.0.0.1:2", "ipv6:[::1]",
     "dns:///rng:50051\n", "unix:", "dns:///rng:0", "dns:///rng:65536", "ipv4:127.0.0.1:70000", "ipv4:rng:50051",
     "ipv4:256.0.0.1:1", "ipv4:[::1]:1", "ipv6:127.0.0.1:1"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["RNG_TARGET", "HASHER_TARGET"])
def test_a_target_that_is_no_target_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    message = refusal(monkeypatch, WorkerSettings, **{name: value})
    assert message.startswith(f"{name}={value!r} is not allowed: it must be a gRPC target such as dns:///rng:50051")


@pytest.mark.parametrize(
    "value",
    ["rng:50051", "[::1]:50051",
     "dns:///rng:50051", "dns:rng:50051", "dns://127.0.0.1:5353/rng.test:50051", "ipv4:127.0.0.1:1",
     "ipv4:127.0.0.1:1,127.0.0.1:2", "ipv6:[::1]:1,[::1]:2", "unix:/run/rng.sock"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["RNG_TARGET", "HASHER_TARGET"])
def test_a_target_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert getattr(WorkerSettings.load(), name.lower()) == value


@pytest.mark.parametrize(
    "value",
    ["", " ", "redis", "redis:6379", "redis://", "redis:///0", "http://redis:6379", "redis://redis:port",
     "redis://redis:6379 ",
     "redis://redis?db=abc", "redis://redis?retry=3", "unix:///a?x=y", "redis://re dis", "unix://",
     "redis://redis:65536", "redis://redis:6379/zero"],
)  # fmt: skip
@pytest.mark.parametrize("settings", [WorkerSettings, WebuiSettings])
def test_a_redis_url_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], value: str
) -> None:
    message = refusal(monkeypatch, settings, REDIS_URL=value)
    assert message.startswith(f"REDIS_URL={value!r} is not allowed: it must be redis://HOST:PORT")


@pytest.mark.parametrize(
    "value",
    ["redis://redis:6379", "redis://redis", "redis://127.0.0.1:1/2", "rediss://user:pass@redis.example:6380/0",
     "redis://[::1]:6379", "redis://:pass@redis", "unix:///run/redis.sock",
     "unix:///run/redis.sock?db=1"],
)  # fmt: skip
@pytest.mark.parametrize("settings", [WorkerSettings, WebuiSettings])
def test_a_redis_url_is_taken(monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], value: str) -> None:
    monkeypatch.setenv("REDIS_URL", value)
    assert getattr(settings.load(), "redis_url") == value  # noqa: B009 - only two of the classes have it


@pytest.mark.parametrize(
    "value",
    ["http://:s3cret@redis:6379", "redis://user:s3cret@redis:6379 ", "redis://user:p@s3cret@redis:port",
     "redis://user:p/s3cret@redis:port", "redis:/:s3cret@redis", ":s3cret@redis:6379",
     "redis://redis:port?password=s3cret", "redis://:s3cret@", "redis://u:p\ns3cret@redis", "redis://:s3cret"],
)  # fmt: skip
@pytest.mark.parametrize("settings", [WorkerSettings, WebuiSettings])
def test_an_error_never_shows_the_password_of_redis(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], value: str
) -> None:
    message = refusal(monkeypatch, settings, REDIS_URL=value)
    assert message.startswith("REDIS_URL=")
    assert "s3cret" not in message


def test_a_batch_above_two_mebibytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, WorkerSettings, BATCH_SIZE="65536", MESSAGE_SIZE="33")
    assert message == "BATCH_SIZE=65536 x MESSAGE_SIZE=33 is not allowed: a batch must be at most 2097152 bytes"


def test_an_error_names_the_variable_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, RngSettings, RNG_DELAY="soon", DELAY="later", CONCURRENCY="x")
    assert [part.partition(" ")[0] for part in message.split("; ")] == ["RNG_DELAY='soon'", "CONCURRENCY='x'"]


@pytest.mark.parametrize(
    "environment",
    [
        {"LOG_FORMAT": "JSON"},
        {"RNG_LOG_FORMAT": "json"},
        {"LOG_FORMAT": "console", "RNG_LOG_FORMAT": "json"},
    ],
)
def test_an_error_is_logged_as_json_where_the_service_logs_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    formats: list[object] = []
    monkeypatch.setattr(log, "configure", lambda _, log_format, **__: formats.append(log_format))
    assert process.refuse("rng", "DELAY is wrong") == process.EXIT_SETTINGS
    assert formats == [LogFormat.JSON]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "environment",
    [{}, {"LOG_FORMAT": "json", "RNG_LOG_FORMAT": "console"}, {"HASHER_LOG_FORMAT": "json"}],
)
def test_an_error_is_a_plain_line_where_the_service_logs_for_people(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert process.refuse("rng", "DELAY is wrong") == process.EXIT_SETTINGS
    assert capfd.readouterr().err == "rng: DELAY is wrong\n"


def test_an_error_never_shows_a_token_whatever_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, WebuiSettings, WEBUI_TOKEN="s3cret")
    assert message.startswith("WEBUI_TOKEN is not allowed: it must be 16 to 256")
    assert "s3cret" not in message


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        (HasherSettings, {"FAULT_ERROR_RATE": "0.7", "HASHER_FAULT_HANG_RATE": "0.7"},
         "FAULT_ERROR_RATE=0.7 + HASHER_FAULT_HANG_RATE=0.7 is not allowed: "),
        (WorkerSettings, {"WORKER_BATCH_SIZE": "65536", "WORKER_MESSAGE_SIZE": "33"},
         "WORKER_BATCH_SIZE=65536 x WORKER_MESSAGE_SIZE=33 is not allowed: "),
        (RngSettings, {"RNG_TLS_CERT": "a", "TLS_CA": "b"},
         "RNG_TLS_CERT='a', TLS_CA='b' is not allowed without TLS_KEY: "),
        (RngSettings, {"RNG_TLS_CERT": "/no", "TLS_KEY": "/no", "TLS_CA": "/no"},
         "RNG_TLS_CERT='/no' is not allowed: "),
        (WorkerSettings, {"REDIS_PASSWORD_FILE": "/no", "WORKER_REDIS_URL": "redis://:s3cret@redis"},
         "REDIS_PASSWORD_FILE='/no' is not allowed beside a password in WORKER_REDIS_URL: "),
        (WorkerSettings, {"WORKER_REDIS_PASSWORD_FILE": "/no"}, "WORKER_REDIS_PASSWORD_FILE='/no' is not allowed: "),
        (WebuiSettings, {"WEBUI_REDIS_PREFIX": "a", "REDIS_URL": "redis-cluster://redis:6379"},
         "WEBUI_REDIS_PREFIX='a' is not allowed with a cluster"),
        (WebuiSettings, {"WEBUI_TOKEN_FILE": "/no"}, "WEBUI_TOKEN_FILE='/no' is not allowed: "),
        (WebuiSettings, {"TOKEN_FILE": "/no", "WEBUI_TOKEN": "x" * 16},
         "TOKEN_FILE='/no' is not allowed beside WEBUI_TOKEN: "),
    ],
)  # fmt: skip
def test_an_error_about_several_variables_names_those_that_were_set(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings], environment: dict[str, str], expected: str
) -> None:
    assert refusal(monkeypatch, settings, **environment).startswith(expected)


def test_all_that_is_wrong_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, RngSettings, PACE="none", DELAY="x", PORT="-1")
    assert [part.partition("=")[0] for part in message.split("; ")] == ["PACE", "PORT", "DELAY"]


def test_an_unknown_pace_is_the_only_error_it_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, WorkerSettings, PACE="none").count("is not allowed") == 1
