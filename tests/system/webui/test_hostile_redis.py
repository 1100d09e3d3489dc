"""Keys and entries that hold anything are skipped and counted, and the page goes on."""

import random
import time
from typing import Any

import pytest
from support.redis_server import RedisServer
from system.webui.page import Page, follows_redis, points, until
from system.webui.reports import Reports

from chassis.telemetry.telemetry import Telemetry
from webui_svc import keys

WORKER = "worker-1-00000001"
KEYS = ("hashes", "coins", "totals", f"totals:{WORKER}", f"worker:{WORKER}", "load_tests")
TYPES = ("string", "list", "hash", "set", "zset", "stream")
ODD_ENTRIES = 300

LEAST_COUNTED = 3
"""Of the keys, whatever type they are of: what is missing in some, and what is left out of others, is not counted."""


@pytest.fixture(autouse=True)
def _read_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "TOTALS_EVERY", 0.1)


def malformed(telemetry: Telemetry) -> float:
    return telemetry.metrics.get_sample_value("dockercoins_webui_malformed_entries_total") or 0


def put(client: Any, key: str, kind: str, member: bytes) -> None:
    """Make it a key of this type that holds this."""
    client.delete(key)
    {
        "string": lambda: client.set(key, member),
        "list": lambda: client.rpush(key, member),
        "hash": lambda: client.hset(key, mapping={member: member, b"sequence": member, b"backends": member}),
        "set": lambda: client.sadd(key, member),
        "zset": lambda: client.zadd(key, {member: 1}),
        "stream": lambda: client.xadd(key, {member: member}),
    }[kind]()


def report(second: int, worker: str) -> dict[str, str]:
    """A good one of ten hashes in a second."""
    begin = second * 1_000_000
    return {
        "worker": worker, "instance": worker.rpartition("-")[0], "sequence": "9", "hashes": "10", "coins": "0",
        "begin_us": str(begin), "end_us": str(begin + 1_000_000), "batch_size": "1", "pace": "classic",
        "report_interval_us": "1000000", "sent_us": str(time.time_ns() // 1_000),
        "redis_us": str(time.time_ns() // 1_000), "stalled_since_us": "0", "waits_for": "",
    }  # fmt: skip


async def is_away(page: Page) -> bool:
    async with page.get("/json") as response:
        return response.status == 503


async def shows(page: Page, second: int, speed: float) -> bool:
    return (await points(page)).get(second) == speed


@pytest.mark.parametrize("kind", TYPES)
async def test_keys_of_any_type_are_skipped_and_counted(
    page: Page, telemetry: Telemetry, reports: Reports, now: int, kind: str
) -> None:
    reports.add_seconds(now - 4, 1)
    for key in KEYS:
        put(reports._client, key, kind, b"\xff\x00[")
    await until(lambda: follows_redis(page))
    reports.add_raw(report(now - 4, "worker-2-00000002"))
    await until(lambda: shows(page, now - 4, 20))

    async def counted() -> bool:
        return malformed(telemetry) >= LEAST_COUNTED

    await until(counted)
    for path in ("/json", "/api/load-tests", "/api/history?seconds=3600", "/api/history?by=worker&seconds=3600", "/"):
        async with page.get(path) as response:
            assert response.status == 200, path


async def test_odd_reports_among_good_ones_are_skipped_and_each_is_counted(
    page: Page, telemetry: Telemetry, reports: Reports, now: int
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    chance = random.Random(seed)
    client: Any = reports._client
    good = report(now - 3, WORKER)
    for number in range(ODD_ENTRIES):
        fields: dict[Any, Any] = {**good, "sequence": number}
        field = chance.choice(sorted(good))
        del fields[field]
        if chance.random() < 0.8:
            fields[field] = chance.choice((b"\xff", b" ", b"\x00")) + chance.randbytes(chance.randrange(40))
        for _ in range(chance.randrange(3)):
            fields[chance.randbytes(chance.randrange(1, 200))] = chance.randbytes(chance.randrange(2_000))
        client.xadd("reports", fields)
        if number == ODD_ENTRIES // 2:
            reports.add_raw(good)
    await until(lambda: shows(page, now - 3, 10))

    async def counted() -> bool:
        return malformed(telemetry) == ODD_ENTRIES

    await until(counted)


async def test_where_reports_are_no_stream_the_page_waits_until_they_are(
    page: Page, redis: RedisServer, reports: Reports, now: int
) -> None:
    put(redis.client(), "reports", "list", b"odd")
    await until(lambda: is_away(page))
    async with page.get("/healthz") as response:
        assert response.status == 200
    redis.client().delete("reports")
    reports.add_seconds(now - 3, 1)
    await until(lambda: shows(page, now - 3, 10))
