import pytest

from chassis.settings import SettingsError
from local_run.settings import LocalRunSettings


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LocalRunSettings.fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_defaults_are_one_of_each_on_the_ports_of_the_design() -> None:
    settings = LocalRunSettings.load()
    assert (settings.workers, settings.rngs, settings.hashers) == (1, 1, 1)
    assert (settings.webui_port, settings.rng_port, settings.hasher_port, settings.redis_port) == (
        8000,
        50051,
        50151,
        6379,
    )
    assert settings.embeds_redis


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKERS", "0"),
        ("WORKERS", "101"),
        ("RNGS", "50"),
        ("HASHERS", "-1"),
        ("HASHERS", "two"),
        ("RNG_PORT", "0"),
        ("WEBUI_PORT", "65536"),
        ("REDIS_URL", ""),
        ("REDIS_URL", "localhost"),
        ("DATA_DIR", ""),
        ("PACE", "fast"),
    ],
)
def test_bad_value_is_one_line_with_the_variable_and_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        LocalRunSettings.load()
    assert str(caught.value).startswith(f"{name}={value!r} is not allowed: it must be ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "count", "most"),
    [
        ("RNG_PORT", "RNGS", 65_534),
        ("HASHER_METRICS_PORT", "HASHERS", 65_525),
        ("WORKER_METRICS_PORT", "WORKERS", 65_525),
    ],
)
def test_replicas_must_fit_below_the_last_port(
    monkeypatch: pytest.MonkeyPatch, name: str, count: str, most: int
) -> None:
    monkeypatch.setenv(name, "65535")
    LocalRunSettings.load()
    monkeypatch.setenv(count, "2")
    with pytest.raises(
        SettingsError, match=rf"^{name}=65535 is not allowed: it must be at most {most} with 2 processes$"
    ):
        LocalRunSettings.load()
    monkeypatch.setenv(name, str(most))
    LocalRunSettings.load()


def test_a_given_redis_is_used_even_if_it_is_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://redis:6379")
    assert not LocalRunSettings.load().embeds_redis
