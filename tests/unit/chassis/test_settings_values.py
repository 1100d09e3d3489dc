"""What the settings are when nothing is wrong with them."""

import os
import socket

import pytest

from chassis import cpus
from chassis.settings import LogFormat, LogLevel, Pace, ServiceSettings
from hasher_svc.settings import HasherSettings
from rng_svc.settings import RngSettings
from webui_svc.settings import WebuiSettings
from worker_svc.settings import MAX_IN_FLIGHT_BYTES, WorkerSettings

ALL = (RngSettings, HasherSettings, WorkerSettings, WebuiSettings)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if any(name in settings.variables() for settings in ALL):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("settings", ALL)
def test_the_default_is_the_workshop(settings: type[ServiceSettings]) -> None:
    loaded = settings.load()
    assert loaded.pace is Pace.CLASSIC
    assert loaded.bind_address == "127.0.0.1"
    assert loaded.instance == socket.gethostname()
    assert (loaded.log_level, loaded.log_format) == (LogLevel.INFO, LogFormat.CONSOLE)


@pytest.mark.parametrize("settings", ALL)
def test_an_empty_variable_of_opentelemetry_is_one_that_is_not_set(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings]
) -> None:
    """As its specification has it."""
    names = [name for name in settings.fields if name.startswith("otel_")]
    unset = settings.load()
    for name in names:
        monkeypatch.setenv(name.upper(), "")
    assert [getattr(settings.load(), name) for name in names] == [getattr(unset, name) for name in names]
    assert not unset.otel_exporter_otlp_endpoint


@pytest.mark.parametrize(
    "value",
    ["http://localhost:4318", "https://collector/", "http://me:secret@[::1]:4318/under/this", "http://10.0.0.1"],
)
def test_a_collector_can_be_anywhere(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", value)
    assert ServiceSettings.load().otel_exporter_otlp_endpoint == value


def test_ports_are_those_of_the_contract() -> None:
    rng, hasher, worker, webui = RngSettings(), HasherSettings(), WorkerSettings(), WebuiSettings()
    assert (rng.port, hasher.port, webui.port) == (50051, 50151, 8000)
    assert [each.metrics_port for each in (rng, hasher, worker, webui)] == [9101, 9102, 9103, 9104]


def test_the_classic_pace() -> None:
    rng, hasher, worker = RngSettings.load(), HasherSettings.load(), WorkerSettings.load()
    assert (rng.delay, rng.concurrency) == (0.1, 1)
    assert (hasher.delay, hasher.concurrency) == (0.1, 0)
    assert (worker.delay, worker.batch_size, worker.window_size, worker.message_size) == (0.1, 1, 1, 32)


def test_the_full_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACE", "full")
    rng, hasher, worker = RngSettings.load(), HasherSettings.load(), WorkerSettings.load()
    assert (rng.delay, rng.concurrency) == (0, cpus.usable())
    assert (hasher.delay, hasher.concurrency) == (0, cpus.usable())
    assert worker.delay == 0
    assert worker.tuned
    assert worker.allows(worker.start)


@pytest.mark.parametrize("pace", list(Pace))
def test_a_single_setting_overrides_the_pace_and_no_other_setting(monkeypatch: pytest.MonkeyPatch, pace: Pace) -> None:
    monkeypatch.setenv("PACE", pace)
    by_pace = HasherSettings.load()
    monkeypatch.setenv("DELAY", "0.25")
    overridden = HasherSettings.load()
    assert overridden.delay == 0.25
    assert vars(overridden) == vars(by_pace) | {"delay": 0.25}


def test_zero_overrides_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELAY", "0")
    monkeypatch.setenv("CONCURRENCY", "0")
    assert (RngSettings.load().delay, RngSettings.load().concurrency) == (0, 0)


@pytest.mark.parametrize("settings", ALL)
def test_a_setting_of_one_service_comes_before_that_of_all(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings]
) -> None:
    own = f"{settings.service.upper()}_LOG_LEVEL"
    for each in ALL:
        monkeypatch.setenv(f"{each.service.upper()}_LOG_LEVEL", "error")
    monkeypatch.setenv(own, "debug")
    assert settings.load().log_level is LogLevel.DEBUG
    monkeypatch.setenv("LOG_LEVEL", "warning")
    assert settings.load().log_level is LogLevel.DEBUG
    monkeypatch.delenv(own)
    assert settings.load().log_level is LogLevel.WARNING
    assert settings.load(log_level="info").log_level is LogLevel.INFO


def test_one_service_may_have_another_pace_and_another_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACE", "full")
    monkeypatch.setenv("RNG_PACE", "classic")
    monkeypatch.setenv("HASHER_DELAY", "0.5")
    monkeypatch.setenv("HASHER_FAULT_SLOW", "1")
    assert (RngSettings.load().delay, RngSettings.load().fault_slow) == (0.1, 0)
    assert (HasherSettings.load().delay, HasherSettings.load().fault_slow) == (0.5, 1)
    assert WorkerSettings.load().delay == 0


@pytest.mark.parametrize("value", ["INFO", "Info", "info"])
def test_a_word_may_be_written_in_any_case(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LOG_LEVEL", value)
    monkeypatch.setenv("LOG_FORMAT", "JSON")
    monkeypatch.setenv("PACE", "FULL")
    loaded = RngSettings.load()
    assert (loaded.log_level, loaded.log_format, loaded.pace) == (LogLevel.INFO, LogFormat.JSON, Pace.FULL)
    assert loaded.delay == 0


@pytest.mark.parametrize("settings", ALL)
def test_settings_are_frozen(settings: type[ServiceSettings]) -> None:
    loaded = settings.load()
    with pytest.raises(AttributeError, match="frozen"):
        setattr(loaded, "metrics_port", 1)  # noqa: B010 - mypy would refuse the plain assignment, which is the point


@pytest.mark.parametrize("settings", ALL)
def test_variables_of_other_programs_are_no_concern(
    monkeypatch: pytest.MonkeyPatch, settings: type[ServiceSettings]
) -> None:
    """A Service of Kubernetes, what `make run` takes, conda, GNU screen and fields that are no settings."""
    for service in ("RNG", "HASHER", "WORKER", "WEBUI"):
        monkeypatch.setenv(f"{service}_PORT", "tcp://10.0.0.1:50051")
        monkeypatch.setenv(f"{service}_METRICS_PORT", "x")
        monkeypatch.setenv(f"{service}_INSTANCE", "")
    for name in ("HOST", "WINDOW", "BY_PACE", "SERVICE"):
        monkeypatch.setenv(name, "nonsense")
    assert vars(settings.load()) == vars(settings())


def test_the_window_is_bounded_in_bytes() -> None:
    worker = WorkerSettings(batch_size=65_536, message_size=32, window_size=4_096)
    assert worker.start.window * worker.start.batch_size * worker.message_size == MAX_IN_FLIGHT_BYTES
    assert WorkerSettings(batch_size=1, window_size=8).start.window == 8


def test_the_best_batch_size_and_window_are_looked_for_unless_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACE", "full")
    monkeypatch.setenv("BATCH_SIZE", "auto")
    assert WorkerSettings.load().tuned
    monkeypatch.setenv("WINDOW_SIZE", "5")
    worker = WorkerSettings.load()
    assert worker.tuned
    assert worker.start.window == 5
    monkeypatch.setenv("BATCH_SIZE", "100")
    worker = WorkerSettings.load()
    assert not worker.tuned
    assert worker.start == (100, 5)
    monkeypatch.setenv("WINDOW_SIZE", "auto")
    assert WorkerSettings.load().start == (100, 8)
    monkeypatch.setenv("PACE", "classic")
    monkeypatch.setenv("BATCH_SIZE", "auto")
    assert WorkerSettings.load().tuned


def test_the_first_batch_fits_whatever_the_message_size_and_the_window() -> None:
    for message_size in (1, 32, 33, 513, 2 * 1024 * 1024):
        assert (worker := WorkerSettings(pace=Pace.FULL, message_size=message_size)).allows(worker.start)
    for window in (1, 512, 513, 4_096):
        assert (worker := WorkerSettings(pace=Pace.FULL, window_size=window)).allows(worker.start)
