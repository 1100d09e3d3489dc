"""Reports kept in Redis, where the page finds them."""

import json

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from chassis.stored import LOAD_TESTS, MAX_LOAD_TEST_BYTES, MAX_LOAD_TESTS
from worker_svc.load_test.errors import LoadTestError
from worker_svc.load_test.report import Report

ANSWER_LIMIT = 5.0
"""Seconds in which Redis must accept a connection and answer."""


def publish(report: Report, redis_url: str) -> None:
    """Put a report before the others, and let the oldest go. Raises LoadTestError when that can't be done."""
    text = json.dumps(report.document(runs=False), separators=(",", ":"))
    if (size := len(text.encode())) > MAX_LOAD_TEST_BYTES:
        raise LoadTestError(
            f"--publish: a report of {size} bytes is not allowed: it must be at most {MAX_LOAD_TEST_BYTES} bytes; "
            f"measure fewer than these {len(report.results)} points"
        )
    client = redis.Redis.from_url(
        redis_url,
        socket_timeout=ANSWER_LIMIT,
        socket_connect_timeout=ANSWER_LIMIT,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        with client.pipeline(transaction=True) as transaction:
            transaction.lpush(LOAD_TESTS, text)
            transaction.ltrim(LOAD_TESTS, 0, MAX_LOAD_TESTS - 1)
            transaction.execute()
    except (RedisError, OSError) as error:
        raise LoadTestError(f"--publish: Redis did not take the report ({_one_line(error)})") from None
    finally:
        client.close()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
