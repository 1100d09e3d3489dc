"""Reports kept in Redis, where the page finds them."""

import asyncio
import json

from redis.exceptions import RedisError

from chassis.redis import errors
from chassis.redis.client import open_client
from chassis.redis.schema import MAX_LOAD_TEST_BYTES, MAX_LOAD_TESTS
from chassis.redis.settings import RedisAccess
from load_test.errors import LoadTestError
from load_test.report import Report

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
        raise LoadTestError(f"--publish: Redis did not take the report ({errors.describe(error)})") from None


async def _put(text: str, redis: RedisAccess) -> None:
    async with (
        asyncio.timeout(ANSWER_LIMIT),
        open_client(redis) as client,
        client.pipeline(transaction=True) as transaction,
    ):
        transaction.lpush(redis.keys.load_tests, text)
        transaction.ltrim(redis.keys.load_tests, 0, MAX_LOAD_TESTS - 1)
        await transaction.execute()
