"""What browsers are told of replicas, coins, changes and load tests."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.redis_server import RedisServer
from system.webui.page import Events, Page, follows_redis, until
from system.webui.reports import Reports, backend

from chassis.health import Health
from chassis.redis.access import RedisAccess
from chassis.telemetry.telemetry import Telemetry
from webui_svc.app import make_app

WORKER = "worker-1-00000001"


async def has(events: Events, name: str, condition: Any) -> Any:
    """Wait for a part of an event that a condition holds for."""
    _, data = await events.until(lambda _, data: name in data and bool(condition(data[name])))
    return data[name]


def states(service: Any) -> dict[str, str]:
    return {each["name"]: each["state"] for each in service["replicas"]}


async def test_replicas_are_those_that_the_workers_see(ready_page: Page, reports: Reports, now: int) -> None:
    async with ready_page.get("/events") as response:
        events = Events(response)
        _, data = await events.next()
        assert data["system"]["webui"]["name"] == "webui-1"
        assert data["system"]["redis"] == {"name": "127.0.0.1", "state": "serving", "reports": 0}
        reports.see([backend("rng-1"), backend("rng-2", batches=1)], [backend("hasher-1", "late", 0)])
        reports.add_seconds(now - 2, 1)
        system = await has(events, "system", lambda system: system["rng"]["replicas"])
        assert states(system["hasher"]) == {"hasher-1": "late"}
        assert [(each["share"], each["rate"]) for each in system["rng"]["replicas"]] == [(0.75, 3), (0.25, 1)]
        assert system["rng"]["replicas"][0]["p50"] == pytest.approx(0.1, rel=0.19)
        assert system["hasher"]["replicas"][0]["p99"] is None
        worker = system["worker"]["replicas"][0]
        assert (worker["name"], worker["id"], worker["state"], worker["batch_size"]) == (
            "worker-1",
            WORKER,
            "serving",
            1,
        )
        reports.see([backend("rng-1"), backend("rng-2", "gone", 0)], [backend("hasher-1")])
        reports.add_seconds(now - 1, 1)
        system = await has(
            events, "system", lambda system: states(system["rng"]) != {"rng-1": "serving", "rng-2": "serving"}
        )
        assert states(system["rng"]) == {"rng-1": "serving", "rng-2": "gone"}
        await has(events, "system", lambda system: states(system["worker"]) == {"worker-1": "gone"})


async def test_a_key_that_was_read_counts_once(ready_page: Page, reports: Reports, now: int) -> None:
    async with ready_page.get("/events") as response:
        events = Events(response)
        reports.see([backend("rng-1", batches=6)], [])
        reports.add_seconds(now - 2, 1)
        await has(events, "system", lambda system: system["rng"]["replicas"])
        reports.add_seconds(now - 1, 1)  # of which its own key says nothing
        system = await has(events, "system", lambda system: system["redis"]["reports"] > 0.2)
        assert system["rng"]["replicas"][0]["rate"] == 6


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b'{"seconds": 1}', b"[" * 100_000])
async def test_a_malformed_key_spoils_nothing_else(
    ready_page: Page, redis: RedisServer, reports: Reports, now: int, raw: bytes
) -> None:
    redis.client().hset(f"worker:{WORKER}", mapping={"sequence": "1", "backends": raw, "coins": raw})
    redis.client().set("worker:worker-2-00000002", "no hash")
    async with ready_page.get("/events") as response:
        events = Events(response)
        reports.add_seconds(now - 2, 1)
        reports.add_seconds(now - 2, 1, 10, "worker-2-00000002")
        reports.see([backend("rng-1")], [], worker="worker-3-00000003")
        reports.add_seconds(now - 2, 1, 10, "worker-3-00000003")
        system = await has(events, "system", lambda system: len(system["worker"]["replicas"]) == 3)
        assert states(system["rng"]) == {"rng-1": "serving"}
    assert await follows_redis(ready_page)


async def test_coins_are_shown_beside_what_chance_predicts(ready_page: Page, reports: Reports, now: int) -> None:
    digests = [f"{number:064x}" for number in range(3)]
    async with ready_page.get("/events") as response:
        events = Events(response)
        reports.see([], [], coins=[[digest, now - 3 + number] for number, digest in enumerate(digests)])
        reports.add_seconds(now - 2, 1, 160, coins=11)
        found = await has(events, "found", lambda found: found["minute"])
    assert [coin["digest"] for coin in found["latest"]] == digests[::-1]
    assert found["latest"][0] == {"digest": digests[2], "at": now - 1, "bits": 4, "worker": WORKER}
    assert (found["minute"], found["predicted"], found["deviation"]) == (11, 10, pytest.approx(3.062, abs=1e-3))


async def test_what_changed_is_marked(ready_page: Page, reports: Reports, now: int) -> None:
    async with ready_page.get("/events") as response:
        events = Events(response)
        assert (await events.next())[1]["marks"] == []
        reports.see([backend("rng-1")], [backend("hasher-1")])
        reports.add_seconds(now - 3, 1)
        marks = await has(events, "marks", bool)
        assert [(mark["kind"], mark["name"]) for mark in marks] == [("worker came", "worker-1")]
        reports.see([backend("rng-1", "gone", 0), backend("rng-2")], [backend("hasher-1")])
        reports.add_seconds(now - 2, 1, batch_size=16)
        marks = await has(events, "marks", bool)
        assert [(mark["kind"], mark["name"], mark["value"]) for mark in marks] == [
            ("batch size", "worker-1", 16),
            ("rng went", "rng-1", None),
            ("rng came", "rng-2", None),
        ]
        marks = await has(events, "marks", bool)
        assert [mark["kind"] for mark in marks] == ["worker went"]
    async with ready_page.get("/events") as response:
        _, data = await Events(response).next()
    assert [mark["kind"] for mark in data["marks"]] == [
        "worker came",
        "batch size",
        "rng went",
        "rng came",
        "worker went",
    ]


async def test_what_is_there_when_webui_starts_did_not_come(redis: RedisServer, reports: Reports, now: int) -> None:
    reports.see([backend("rng-1")], [backend("hasher-1")])
    reports.add_seconds(now - 2, 2)
    async with TestClient(TestServer(make_app(RedisAccess(redis.url), Telemetry(Health("redis")), "webui-1"))) as page:
        await until(lambda: follows_redis(page))
        async with page.get("/events") as response:
            _, data = await Events(response).next()
    assert states(data["system"]["rng"]) == {"rng-1": "serving"}
    assert data["marks"] == []


async def test_a_time_without_redis_is_a_gap_and_the_system_is_kept(
    ready_page: Page, redis: RedisServer, reports: Reports, now: int
) -> None:
    async with ready_page.get("/events") as response:
        events = Events(response)
        reports.see([backend("rng-1")], [backend("hasher-1")])
        reports.add_seconds(now - 2, 2)
        await has(events, "system", lambda system: system["rng"]["replicas"])
        redis.stop()
        system = await has(events, "system", lambda system: system["redis"]["state"] == "gone")
        assert states(system["rng"]) == {"rng-1": "serving"}
        await asyncio.sleep(1.2)
        redis.start()
        (gap,) = await has(events, "marks", lambda marks: [mark for mark in marks if mark["kind"] == "gap"])
    assert gap["until"] - gap["at"] > 1


async def test_stored_load_tests_are_told_and_can_be_had(ready_page: Page, redis: RedisServer) -> None:
    async with ready_page.get("/api/load-tests") as response:
        assert await response.json() == {"reports": []}
    stored = {"began": "2026-11-24T22:00:00+00:00", "points": [{"point": {}, "summary": {}}] * 100}
    async with ready_page.get("/events") as response:
        events = Events(response)
        redis.client().lpush("load_tests", "no report", json.dumps(stored))
        told = await has(events, "load_tests", lambda told: told["count"])
        assert told == {"count": 1, "newest": stored["began"]}
    async with ready_page.get("/api/load-tests") as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert await response.json() == {"reports": [stored]}
