from pathlib import Path

import pytest
from redis import exceptions
from redis.exceptions import AuthenticationError, NoPermissionError

from chassis.redis import trouble
from chassis.redis.access import password
from chassis.redis.settings import RedisSettings
from chassis.settings import SettingsError
from webui_svc.settings import WebuiSettings
from worker_svc.settings import WorkerSettings

SECRET = "s3cret"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{SECRET}\n")
    return path


@pytest.mark.parametrize("settings", [WorkerSettings, WebuiSettings])
def test_a_password_comes_from_a_file(
    settings: type[RedisSettings], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))
    access = settings.load().redis
    assert access.password_file == file
    assert password(file, "REDIS_PASSWORD_FILE") == SECRET


def test_no_file_is_meant_by_an_empty_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD_FILE", "")
    assert WebuiSettings.load().redis.password_file is None


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "No such file or directory"),
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (f"{SECRET}\nmore\n".encode(), "it has a second line, or other characters that can't be printed"),
        (f"{SECRET}\0".encode(), "it has a second line, or other characters that can't be printed"),
        (SECRET.encode() + b"\xff", "it is no UTF-8"),
        (SECRET.encode() * 1_000, "it has more than 4096 bytes"),
    ],
)
def test_a_file_without_a_password_is_refused(
    content: bytes | None, cause: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))
    with pytest.raises(SettingsError) as raised:
        WorkerSettings.load()
    message = (
        f"REDIS_PASSWORD_FILE={str(file)!r} is not allowed: it must be a file with the password in one line ({cause})"
    )
    assert str(raised.value) == message


def test_two_passwords_are_refused_and_neither_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(file))
    monkeypatch.setenv("REDIS_URL", "rediss://worker:hidden@redis:6379")
    with pytest.raises(SettingsError) as raised:
        WorkerSettings.load()
    message = f"REDIS_PASSWORD_FILE={str(file)!r} is not allowed beside a password in REDIS_URL: one of them must go"
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (AuthenticationError("invalid username-password pair"), "REDIS_PASSWORD_FILE have the password"),
        (NoPermissionError("this user has no permissions"), "the user in REDIS_URL must have the right to it"),
        (
            exceptions.ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] unable to get"),
            "in TLS_CA, for the host in REDIS_URL",
        ),
        (
            exceptions.ConnectionError("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]"),
            "a certificate in TLS_CERT that its authority",
        ),
        (
            exceptions.ConnectionError("[SSL: TLSV1_ALERT_UNKNOWN_CA]"),
            "a certificate in TLS_CERT that its authority has issued",
        ),
        (
            exceptions.ConnectionError("[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED]"),
            "a certificate in TLS_CERT that its authority",
        ),
        (
            exceptions.ConnectionError("Connection reset by peer, before any answer"),
            "it may want a certificate in TLS_CERT",
        ),
        (exceptions.ClusterCrossSlotError("Keys in request"), "must begin with redis-cluster://"),
        (exceptions.ConnectionError("[SSL: WRONG_VERSION_NUMBER]"), "REDIS_URL must begin with redis://"),
        (exceptions.OutOfMemoryError("command not allowed"), "maxmemory must leave room for what is counted"),
        (exceptions.ResponseError("EVICTION maxmemory-policy is allkeys-lru"), "it must be noeviction, or one that"),
        (exceptions.ResponseError("ACL failure in script: User w"), "the user in REDIS_URL must have the right to it"),
    ],
)
def test_what_waiting_does_not_mend_says_what_does(error: Exception, remedy: str) -> None:
    said = trouble.cause(error)
    assert said.startswith(f"{error}; ")
    assert remedy in said
    assert trouble.must_be_mended(error)


def test_what_waiting_mends_says_no_more() -> None:
    error = exceptions.ConnectionError("Error 111 connecting to redis:6379.")
    assert trouble.cause(error) == "Error 111 connecting to redis:6379."
    assert not trouble.must_be_mended(error)
    assert trouble.cause(TimeoutError()) == "TimeoutError"


def test_a_line_is_one_line_and_bounded() -> None:
    said = trouble.cause(exceptions.ConnectionError("a\nb " * 1_000))
    assert "\n" not in said
    assert len(said) <= trouble.MAX_LENGTH
