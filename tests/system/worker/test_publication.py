"""Load-test reports in a real Redis."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.free_port import free_port
from support.redis_server import RedisServer
from unit.worker.load_test.made import measurement, point, report

from chassis.redis.access import RedisAccess
from chassis.stored import MAX_LOAD_TEST_BYTES, MAX_LOAD_TESTS
from worker_svc.load_test.errors import LoadTestError
from worker_svc.load_test.publication import publish
from worker_svc.load_test.report import Report


def made(began: str = "2026-01-02T03:04:05+00:00", points: int = 2) -> Report:
    return report({point(4, window=each): [measurement(), measurement()] for each in range(1, points + 1)}, began=began)


def published(redis: RedisServer) -> list[Any]:
    return [json.loads(text) for text in redis.client().lrange("load_tests", 0, -1)]


@contextmanager
def refused(match: str) -> Iterator[None]:
    with pytest.raises(LoadTestError, match=match) as raised:
        yield
    assert "\n" not in str(raised.value)


def test_a_report_is_kept_whole_but_for_its_runs(redis: RedisServer) -> None:
    publish(made(), RedisAccess(redis.url))
    [kept] = published(redis)
    expected = json.loads(made().to_json())
    for each in expected["points"]:
        del each["runs"]
    assert kept == expected


def test_the_last_few_are_kept_and_the_newest_is_the_first(redis: RedisServer) -> None:
    for number in range(MAX_LOAD_TESTS + 2):
        publish(made(f"report {number}"), RedisAccess(redis.url))
    assert [each["began"] for each in published(redis)] == [f"report {number}" for number in (6, 5, 4, 3, 2)]


def test_one_that_is_too_long_is_refused(redis: RedisServer) -> None:
    with refused(rf"bytes is not allowed: it must be at most {MAX_LOAD_TEST_BYTES} bytes; .* these 400 points"):
        publish(made(points=400), RedisAccess(redis.url))
    assert published(redis) == []


def test_a_redis_that_is_not_there_is_told() -> None:
    port = free_port()
    with refused(f"Redis did not take the report .*{port}"):
        publish(made(), RedisAccess(f"redis://127.0.0.1:{port}"))


def test_a_key_that_holds_something_else_is_told_and_left(redis: RedisServer) -> None:
    redis.client().set("load_tests", "odd")
    with refused("WRONGTYPE"):
        publish(made(), RedisAccess(redis.url))
    assert redis.client().get("load_tests") == "odd"


def test_a_password_is_not_told() -> None:
    with pytest.raises(LoadTestError) as raised:
        publish(made(), RedisAccess(f"redis://:secret@127.0.0.1:{free_port()}"))
    assert "secret" not in str(raised.value)
