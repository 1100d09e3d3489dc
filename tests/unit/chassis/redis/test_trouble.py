import pytest
from redis import exceptions
from redis.exceptions import AuthenticationError, NoPermissionError

from chassis.redis import trouble


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
