import json
from typing import Any

import pytest
from support.load_test_reports import measurement, point, report
from support.redis_server import RedisServer

from chassis.redis.schema import MAX_LOAD_TEST_BYTES, MAX_LOAD_TESTS
from chassis.redis.settings import RedisAccess
from load_test import LoadTestError
from load_test.output import publish
from load_test.report import Report


def made(began: str = "now", points: int = 2) -> Report:
    return report({point(4, window=each): [measurement(), measurement()] for each in range(1, points + 1)}, began=began)


def published(redis: RedisServer) -> list[Any]:
    return [json.loads(text) for text in redis.client().lrange("load_tests", 0, -1)]


def test_the_last_few_reports_are_kept_whole_but_for_their_runs_and_the_newest_is_the_first(redis: RedisServer) -> None:
    for number in range(MAX_LOAD_TESTS + 2):
        publish(made(f"report {number}"), RedisAccess(redis.url))
    assert [each["began"] for each in published(redis)] == [f"report {number}" for number in (6, 5, 4, 3, 2)]
    expected = json.loads(made("report 6").to_json())
    for each in expected["points"]:
        del each["runs"]
    assert published(redis)[0] == expected


def test_a_report_that_redis_does_not_take_is_refused(redis: RedisServer) -> None:
    with pytest.raises(LoadTestError, match=f"it must be at most {MAX_LOAD_TEST_BYTES} bytes; .*these 400 points$"):
        publish(made(points=400), RedisAccess(redis.url))
    assert published(redis) == []
    redis.client().set("load_tests", "odd")
    with pytest.raises(LoadTestError, match=r"^--publish: Redis did not take .*WRONGTYPE"):
        publish(made(), RedisAccess(redis.url))
    assert redis.client().get("load_tests") == "odd"
