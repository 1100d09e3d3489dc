"""Reports kept in Redis, where the page finds them."""

import json

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from worker_svc.load_test.errors import LoadTestError
from worker_svc.load_test.report import Report

KEY = "load_tests"
"""A list, the newest report first; each is a report in JSON without the runs of its points."""

KEPT = 5
"""Reports."""

MAX_BYTES = 256 * 1024
"""Of a report: all of them are sent to whoever opens the page."""

ANSWER_LIMIT = 5.0
"""Seconds in which Redis must accept a connection and answer."""


def publish(report: Report, redis_url: str) -> None:
    """Put a report before the others, and let the oldest go. Raises LoadTestError when that can't be done."""
    text = json.dumps(report.document(runs=False), separators=(",", ":"))
    if (size := len(text.encode())) > MAX_BYTES:
        raise LoadTestError(
            f"--publish: a report of {size} bytes is not allowed: it must be at most {MAX_BYTES} bytes; "
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
            transaction.lpush(KEY, text)
            transaction.ltrim(KEY, 0, KEPT - 1)
            transaction.execute()
    except (RedisError, OSError) as error:
        raise LoadTestError(f"--publish: Redis did not take the report ({_one_line(error)})") from None
    finally:
        client.close()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
