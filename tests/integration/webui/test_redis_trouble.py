import signal
from typing import Any

import pytest
from integration.webui.conftest import Metric
from msgspec.structs import asdict
from redis.exceptions import RedisError
from support.redis_server import RedisServer
from support.reports import WORKER, Reports, make_report, replica
from support.waiting import until
from support.webui_page import Events, Page, is_ready, points, until_shown, webui_page

from chassis.telemetry import Telemetry
from webui_svc import redis_reader
from webui_svc.redis_reader import RedisReader

KEYS = ("hashes", "coins", "totals", f"totals:{WORKER}", f"worker:{WORKER}", "workers", "load_tests")
ODD = b"\xff\x00["


async def test_while_redis_is_stopped_or_frozen_what_is_known_is_kept(
    own_redis: RedisServer, telemetry: Telemetry, metric: Metric, now: int
) -> None:
    reports = Reports(own_redis.client())
    async with webui_page(own_redis.url, telemetry) as page, page.get("/events") as response:
        events = Events(response)
        await until(lambda: metric("redis") == 1)
        reports.see([replica("rng-1")], [replica("hasher-1")])
        reports.add_seconds(now - 20, 2)
        topology = await events.until_part("topology", lambda topology: topology["rng"]["replicas"])
        own_redis.stop()
        data = await events.until(lambda data: not data["redis"])
        assert (data["speed"], data["workers"], metric("redis")) == (None, None, 0)
        assert data["topology"]["redis"]["state"] == "gone"
        assert data["topology"]["rng"] == topology["rng"]
        for path, status in (("/json", 503), ("/healthz", 200), ("/readyz", 200)):
            async with page.get(path) as answer:
                assert (answer.status, "Redis does not respond" in await answer.text()) == (status, path == "/json")
        own_redis.start()
        data = await events.until(lambda data: data["redis"])
        assert data["hashes"] == 20
        own_redis.freeze()
        await until(lambda: metric("redis") == 0)
        own_redis.send(signal.SIGCONT)
        await until(lambda: metric("redis") == 1)
        reports.add_seconds(now - 18, 18)
        await until_shown(page, now - 1, 10)
        assert list((await points(page)).values()) == [10] * 20


async def test_reports_that_come_again_under_older_ids_count_once(page: Page, reports: Reports, now: int) -> None:
    reports.add_seconds(now - 20, 10)
    await until_shown(page, now - 11, 10)
    entries = reports.client.xrange("reports")
    reports.client.delete("reports")
    for number, (_, fields) in enumerate(entries):
        reports.add_raw(fields | {"redis_us": (now - 100) * 10**6}, entry_id=f"{(now - 100) * 1_000}-{number}")
    newest = asdict(make_report(now - 10, now - 9, sequence=99))
    written = dict.fromkeys(("sent_us", "redis_us"), (now - 8) * 10**6)
    reports.add_raw(newest | written, entry_id=f"{(now - 8) * 1_000}-0")
    await until_shown(page, now - 10, 10)
    speeds = await points(page)
    assert [speeds[second] for second in range(now - 20, now - 10)] == [10] * 10


async def test_entries_in_place_of_what_was_read_last_are_read(page: Page, reports: Reports, now: int) -> None:
    """A server that took over may lack that entry, and was written to before webui connected to it."""
    client = reports.client
    reports.add_seconds(now - 20, 9)
    await until_shown(page, now - 12, 10)
    last_ms = int(client.xinfo_stream("reports")["last-generated-id"].partition("-")[0])
    reports.add_seconds(now - 11, 1)
    await until_shown(page, now - 11, 10)
    entries = client.xrange("reports")[:-1]
    with client.pipeline() as pipeline:
        pipeline.execute_command("CLIENT", "KILL", "TYPE", "normal")
        pipeline.delete("reports")
        for entry_id, fields in entries:
            pipeline.xadd("reports", fields, id=entry_id)
        taken = {"sent_us": last_ms * 1_000, "redis_us": last_ms * 1_000}
        for sequence, second, entry_id in ((90, now - 10, f"{last_ms + 1}-0"), (91, now - 9, "*")):
            pipeline.xadd("reports", asdict(make_report(second, second + 1, sequence=sequence)) | taken, id=entry_id)
        pipeline.execute()
    await until_shown(page, now - 9, 10)
    assert (await points(page))[now - 10] == 10


async def test_a_report_that_is_written_while_an_empty_stream_is_read_counts(
    redis: RedisServer, reports: Reports, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = RedisReader._newest

    async def newest_after_a_report(reader: RedisReader) -> bytes:
        reports.add_seconds(now - 2, 2)
        return await newest(reader)

    monkeypatch.setattr(RedisReader, "_newest", newest_after_a_report)
    async with webui_page(redis.url) as page:
        await until_shown(page, now - 1, 10)
        async with page.get("/events") as response:
            assert (await Events(response).next())[1]["workers"] == 1  # it was written a moment ago


async def test_an_hour_is_read_again_when_reading_it_was_cut_off(
    redis: RedisServer, reports: Reports, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports.add_totals(now // 10 * 10 - 1_800, 10, 100)
    query = redis_reader._query
    failures = [RedisError("cut off")]

    async def cut_off_once(client: Any, *commands: tuple[Any, ...]) -> list[Any]:
        if commands[0][0] == "HGETALL" and failures:
            raise failures.pop()
        return await query(client, *commands)

    monkeypatch.setattr(redis_reader, "_query", cut_off_once)
    async with webui_page(redis.url) as page:
        await until(lambda: is_ready(page))
        async with page.get("/api/history?seconds=3600&by=worker") as response:
            assert (await response.json())["workers"] == ["worker-1"]


async def test_a_worker_s_buckets_are_read_again_when_reading_them_was_cut_off(
    redis: RedisServer, reports: Reports, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = redis_reader._query
    failures = [RedisError("cut off")]

    async def cut_off_once(client: Any, *commands: tuple[Any, ...]) -> list[Any]:
        if any(command[:2] == ("HMGET", f"totals:{WORKER}") for command in commands) and failures:
            raise failures.pop()
        return await query(client, *commands)

    monkeypatch.setattr(redis_reader, "_query", cut_off_once)
    async with webui_page(redis.url) as page:
        await until(lambda: is_ready(page))
        reports.add_totals(now // 10 * 10 - 30, 2, 100)
        reports.add(now - 2, now - 1)

        async def is_shown() -> bool:
            async with page.get("/api/history?seconds=3600&by=worker") as response:
                return "worker-1" in (await response.json())["workers"]

        await until(is_shown)
    assert not failures


async def test_something_else_in_the_streams_place_is_waited_out(
    page: Page, reports: Reports, metric: Metric, now: int
) -> None:
    reports.client.rpush("reports", b"odd")
    await until(lambda: metric("redis") == 0)
    async with page.get("/healthz") as response:
        assert response.status == 200
    reports.client.delete("reports")
    reports.add_seconds(now - 3, 3)
    await until_shown(page, now - 1, 10)


# What makes a key of each type, with a member that is no text.
COMMANDS: dict[str, tuple[str | bytes | int, ...]] = {
    "SET": (ODD,),
    "RPUSH": (ODD,),
    "HSET": (ODD, ODD, "sequence", ODD, "replicas", ODD, "coins", ODD),
    "SADD": (ODD,),
    "ZADD": (1, ODD),
    "XADD": ("*", ODD, ODD),
}


@pytest.mark.parametrize("command", COMMANDS)
async def test_keys_of_any_type_are_skipped_and_counted(
    page: Page, reports: Reports, metric: Metric, now: int, command: str
) -> None:
    for key in KEYS:
        reports.client.execute_command(command, key, *COMMANDS[command])
    for worker in (WORKER, "worker-2-00000002"):
        reports.add_raw(asdict(make_report(now - 4, now - 3, worker=worker)))
    await until_shown(page, now - 4, 20)
    await until(lambda: metric("malformed_entries_total") >= 3)  # what is missing in a key is not counted
    history = "/api/history?seconds=3600"
    for path in ("/json", "/api/load-tests", history, f"{history}&by=worker", "/", "/events"):
        async with page.get(path) as response:
            assert response.status == 200, path


async def test_a_malformed_key_of_one_worker_spoils_no_other(
    page: Page, reports: Reports, metric: Metric, now: int
) -> None:
    reports.client.hset(f"worker:{WORKER}", mapping={"sequence": "1", "replicas": ODD, "coins": ODD})
    reports.see([replica("rng-1")], worker="worker-2-00000002")
    async with page.get("/events") as response:
        for worker in (WORKER, "worker-2-00000002"):
            reports.add(now - 2, now - 1, 10, worker)
        topology = await Events(response).until_part(
            "topology", lambda topology: len(topology["worker"]["replicas"]) == 2
        )
    assert [each["name"] for each in topology["rng"]["replicas"]] == ["rng-1"]
    assert metric("malformed_entries_total") == 1
