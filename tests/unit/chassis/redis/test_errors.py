import pytest
from redis.exceptions import (
    AuthenticationError,
    ClusterCrossSlotError,
    NoPermissionError,
    OutOfMemoryError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from chassis.redis import errors


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (AuthenticationError("invalid username-password pair"), "REDIS_PASSWORD_FILE have the password"),
        (NoPermissionError("this user has no permissions"), "the user in REDIS_URL must have the right to it"),
        (RedisConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] unable"), "in TLS_CA, for the host in REDIS_URL"),
        (RedisConnectionError("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED]"), "in TLS_CERT that its authority has issued"),
        (RedisConnectionError("[SSL: TLSV1_ALERT_UNKNOWN_CA]"), "in TLS_CERT that its authority has issued"),
        (RedisConnectionError("Connection reset by peer, before any reply"), "it may want a certificate in TLS_CERT"),
        (RedisConnectionError("[SSL: WRONG_VERSION_NUMBER]"), "REDIS_URL must begin with redis://"),
        (ClusterCrossSlotError("Keys in request"), "must begin with redis-cluster://"),
        (OutOfMemoryError("command not allowed"), "maxmemory must leave room for what is counted"),
        (ResponseError("EVICTION maxmemory-policy is allkeys-lru"), "it must be noeviction, or one that"),
        (ResponseError("ACL failure in script: User w"), "the user in REDIS_URL must have the right to it"),
    ],
)
def test_a_permanent_error_is_described_with_a_remedy(error: Exception, remedy: str) -> None:
    said = errors.describe(error)
    assert said.startswith(f"{error}; ")
    assert remedy in said
    assert errors.is_permanent(error)


def test_a_transient_error_is_one_bounded_line_without_a_remedy() -> None:
    error = RedisConnectionError("Error 111 connecting\nto redis:6379.")
    assert errors.describe(error) == "Error 111 connecting to redis:6379."
    assert not errors.is_permanent(error)
    assert errors.describe(TimeoutError()) == "TimeoutError"
    assert len(errors.describe(RedisConnectionError("a" * 1_000))) == errors.MAX_LENGTH
