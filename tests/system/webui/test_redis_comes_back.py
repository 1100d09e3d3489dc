"""Redis away and back, with whatever state: what was known is kept, and what is new shows."""

import asyncio
import signal

import pytest
from support.redis_server import RedisServer
from system.webui.page import Page, follows_redis, points, until
from system.webui.reports import Reports


async def known(page: Page, second: int, hashes: float) -> None:
    async def shown() -> bool:
        return (await points(page)).get(second) == hashes

    await until(shown)


async def restart(page: Page, redis: RedisServer, *, empty: bool) -> None:
    async def away() -> bool:
        return not await follows_redis(page)

    redis.stop()
    await until(away)
    if empty:
        for file in redis.folder.rglob("*aof*"):
            if file.is_file():
                file.unlink()
    redis.start()
    await until(lambda: follows_redis(page))


async def test_with_its_state(ready_page: Page, redis: RedisServer, reports: Reports, now: int) -> None:
    reports.add_seconds(now - 20, 10)
    await known(ready_page, now - 11, 10)
    await restart(ready_page, redis, empty=False)
    reports.add_seconds(now - 10, 10)
    await known(ready_page, now - 1, 10)
    assert (await points(ready_page))[now - 11] == 10


async def test_empty(ready_page: Page, redis: RedisServer, reports: Reports, now: int) -> None:
    reports.add_seconds(now - 20, 10)
    await known(ready_page, now - 11, 10)
    await restart(ready_page, redis, empty=True)
    assert not redis.client().exists("reports")
    reports.add_seconds(now - 10, 10)
    await known(ready_page, now - 1, 10)
    assert (await points(ready_page))[now - 11] == 10


async def test_with_older_ids_and_reports_that_come_again(
    ready_page: Page, redis: RedisServer, reports: Reports, now: int
) -> None:
    reports.add_seconds(now - 20, 10)
    await known(ready_page, now - 11, 10)
    client = redis.client()
    entries = client.xrange("reports")
    client.delete("reports")
    for number, (_, fields) in enumerate(entries):
        written = {"redis_us": str((now - 100) * 10**6)}
        reports.add_raw(fields | written, entry_id=f"{(now - 100) * 1_000}-{number}")
    written = dict.fromkeys(("sent_us", "redis_us"), str((now - 8) * 10**6))
    times = {"begin_us": str((now - 10) * 10**6), "end_us": str((now - 9) * 10**6)}
    reports.add_raw(entries[-1][1] | {"sequence": "99"} | times | written, entry_id=f"{(now - 8) * 1_000}-0")
    await known(ready_page, now - 10, 10)
    speeds = await points(ready_page)
    assert [speeds[second] for second in range(now - 20, now - 10)] == [10] * 10


async def test_with_a_stream_that_was_deleted(ready_page: Page, redis: RedisServer, reports: Reports, now: int) -> None:
    reports.add_seconds(now - 5, 2)
    await known(ready_page, now - 4, 10)
    redis.client().flushall()
    reports.add_seconds(now - 3, 3)
    await known(ready_page, now - 1, 10)


async def test_with_other_entries_in_place_of_what_was_read_last(
    ready_page: Page, redis: RedisServer, reports: Reports, now: int
) -> None:
    """As a server may have them that took over without that entry, and was written to before the page asked it."""
    reports.add_seconds(now - 20, 9)
    await asyncio.sleep(0.01)
    reports.add_seconds(now - 11, 1)
    await known(ready_page, now - 11, 10)
    client = redis.client()
    *entries, (_, lost) = client.xrange("reports")
    with client.pipeline() as pipeline:
        pipeline.execute_command("CLIENT", "KILL", "TYPE", "normal")
        pipeline.delete("reports")
        for entry_id, fields in entries:
            pipeline.xadd("reports", fields, id=entry_id)
        last_ms = int(entries[-1][0].partition("-")[0])
        before_what_was_lost = f"{last_ms + 1}-0"
        for second, entry_id in ((now - 10, before_what_was_lost), (now - 9, "*")):
            times = {"begin_us": second * 10**6, "end_us": (second + 1) * 10**6}
            times |= {"sent_us": last_ms * 1_000, "redis_us": last_ms * 1_000}
            pipeline.xadd("reports", {**lost, **times, "sequence": 100 + second - now}, id=entry_id)
        pipeline.execute()
    await known(ready_page, now - 9, 10)
    assert (await points(ready_page))[now - 10] == 10


async def test_with_something_else_in_the_streams_place(
    ready_page: Page, redis: RedisServer, reports: Reports, now: int
) -> None:
    async def away() -> bool:
        return not await follows_redis(ready_page)

    redis.client().set("reports", "none")
    await until(away)
    redis.client().delete("reports")
    reports.add_seconds(now - 3, 3)
    await known(ready_page, now - 1, 10)


async def test_after_it_froze(
    ready_page: Page, redis: RedisServer, reports: Reports, now: int, capfd: pytest.CaptureFixture[str]
) -> None:
    async def away() -> bool:
        return not await follows_redis(ready_page)

    redis.send(signal.SIGSTOP)
    await until(away)
    assert "TimeoutError: no answer within 2.5 s" in capfd.readouterr().out
    redis.send(signal.SIGCONT)
    await until(lambda: follows_redis(ready_page))
    reports.add_seconds(now - 3, 3)
    await known(ready_page, now - 1, 10)
