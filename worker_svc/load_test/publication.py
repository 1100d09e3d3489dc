"""Reports kept in Redis, where the page finds them."""

import asyncio
import json

from redis.exceptions import RedisError

from chassis import redis_client, redis_trouble
from chassis.redis_access import RedisAccess
from chassis.stored import LOAD_TESTS, MAX_LOAD_TEST_BYTES, MAX_LOAD_TESTS
from worker_svc.load_test.errors import LoadTestError
from worker_svc.load_test.report import Report

ANSWER_LIMIT = 5.0
"""Seconds in which Redis must accept a connection and answer."""


def publish(report: Report, redis: RedisAccess) -> None:
    """Put a report before the others, and let the oldest go. Raises LoadTestError when that can't be done."""
    text = json.dumps(report.document(runs=False), separators=(",", ":"))
    if (size := len(text.encode())) > MAX_LOAD_TEST_BYTES:
        raise LoadTestError(
            f"--publish: a report of {size} bytes is not allowed: it must be at most {MAX_LOAD_TEST_BYTES} bytes; "
            f"measure fewer than these {len(report.results)} points"
        )
    try:
        asyncio.run(_put(text, redis))
    except TimeoutError:
        raise LoadTestError(f"--publish: Redis did not take the report (no answer in {ANSWER_LIMIT:g} s)") from None
    except (RedisError, OSError) as error:
        raise LoadTestError(f"--publish: Redis did not take the report ({redis_trouble.cause(error)})") from None


async def _put(text: str, redis: RedisAccess) -> None:
    async with (
        asyncio.timeout(ANSWER_LIMIT),
        redis_client.open_client(redis) as client,
        client.pipeline(transaction=True) as transaction,
    ):
        transaction.lpush(LOAD_TESTS, text)
        transaction.ltrim(LOAD_TESTS, 0, MAX_LOAD_TESTS - 1)
        await transaction.execute()
