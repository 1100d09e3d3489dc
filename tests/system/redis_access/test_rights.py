"""What each user of Redis can do, and that it is enough."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from structlog.testing import capture_logs
from support.ledgers import SECOND_US, report
from support.load_test_reports import measurement, point
from support.load_test_reports import report as load_test_report
from support.redis_server import RedisServer
from support.webui_page import is_ready, until
from system.redis_access.locked_redis import LockedRedis, set_users

from chassis.health import Health
from chassis.redis.access import RedisAccess
from chassis.redis.client import open_client
from chassis.telemetry.telemetry import Telemetry
from deploy.tls import redis_users
from webui_svc.app import make_app
from worker_svc.ledger import Ledger
from worker_svc.load_test.publication import publish
from worker_svc.settings import WorkerSettings

DAMAGE = [
    "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET dir /tmp", "KEYS *", "ACL LIST", "ACL SETUSER x on", "SHUTDOWN",
    "REPLICAOF localhost 1", "MONITOR", "SAVE", "CLIENT LIST", "CLIENT KILL ID 1", "SELECT 1",
    "SUBSCRIBE x", "PUBLISH x y", "FUNCTION LIST", "DEL hashes", "SET wallet 1", "GET other", "RENAME hashes x",
    "EVAL return 0", "INFO", "INFO server",
]  # fmt: skip

REFUSED = {
    "worker": [*DAMAGE, "HSET other f v", "INCRBY other 1", "INCRBY wallet 1", "HDEL wallet f", "HGETALL wallet",
               "XADD other * f v", "XRANGE reports - +", "HSET totals f v", "LPUSH other x", "LRANGE load_tests 0 -1",
               "EXPIRE hashes 1", "SCAN 0", "DEL wallet", "DEL workers", "EXPIRE worker:x 1"],
    "webui": [*DAMAGE, "SET hashes 1", "INCRBY hashes 1", "HSET wallet f v", "XADD reports * f v",
              "LPUSH load_tests x", "HGETALL wallet", "GET hashes", "MGET other", "HGETALL other", "XRANGE other - +",
              "SCRIPT LOAD x", "EVALSHA 0 0"],
    "health": [*DAMAGE, "MGET hashes", "XADD reports * f v", "TIME", "SCRIPT LOAD x", "EVALSHA 0 0", "SCAN 0"],
}  # fmt: skip


@pytest.mark.parametrize(("user", "commands"), REFUSED.items())
async def test_a_user_can_do_nothing_else(locked: LockedRedis, user: str, commands: list[str]) -> None:
    if user == "health":
        access = RedisAccess(f"rediss://health:any@localhost:{locked.port}", tls=locked.files("worker"))
    else:
        access = locked.access(user)
    client: Any
    async with open_client(access) as client:
        assert await client.ping()
        for command in commands:
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command.split())


async def test_nobody_is_the_default_user(locked: LockedRedis) -> None:
    for login in ("", "default:@", "default:any@", ":any@"):
        access = RedisAccess(f"rediss://{login}localhost:{locked.port}", tls=locked.files("worker"))
        async with open_client(access, protocol=2) as client:
            with pytest.raises(AuthenticationError):
                await client.ping()


async def test_a_script_can_do_no_more_than_its_user(locked: LockedRedis) -> None:
    async with open_client(locked.access("worker")) as client:
        for call in ("'FLUSHALL'", "'SET', 'wallet', 1", "'DEL', KEYS[1]", "'INCRBY', 'other', 1"):
            script = await client.script_load(f"return redis.call({call})")
            with pytest.raises(RedisError, match=r"can't run this command|can't access|permission"):
                await client.evalsha(script, 1, "hashes")
        with pytest.raises(NoPermissionError):
            await client.evalsha(await client.script_load("return 1"), 1, "other")


@asynccontextmanager
async def sending(settings: WorkerSettings) -> AsyncIterator[Ledger]:
    made = Ledger(settings, "w-1")
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await made.close()


def causes(lines: list[Any]) -> list[str]:
    return [line["cause"] for line in lines if "cause" in line]


async def said(lines: list[Any]) -> bool:
    return bool(causes(lines))


async def test_the_worker_and_the_page_can_do_all_they_have_to(locked: LockedRedis) -> None:
    settings = WorkerSettings(**locked.settings("worker", instance="w"))
    await mine_and_show(settings, locked.access("webui"))


async def test_redis_has_nothing_to_refuse_them(redis: RedisServer) -> None:
    admin = redis.client()
    set_users(admin, redis_users.USERS)
    admin.acl_log_reset()
    settings = WorkerSettings(redis_url=redis.url.replace("://", "://worker:worker@"), instance="w")
    await mine_and_show(settings, RedisAccess(redis.url.replace("://", "://webui:webui@")))
    assert admin.acl_log() == []


async def mine_and_show(settings: WorkerSettings, webui: RedisAccess) -> None:
    """Have the reports of a worker and of a load test on the page."""
    async with sending(settings) as made:
        for sequence in (1, 2):
            now = time.time_ns() // 1_000 - SECOND_US
            made.add(report(sequence, hashes=5, coins=1, begin_us=now, wallet=((f"ab{sequence}", b"x"),)))
        assert await made.settle(5)
        assert made.taking
    with capture_logs() as lines:
        await asyncio.to_thread(publish, load_test_report({point(4): [measurement(), measurement()]}), settings.redis)
        app = make_app(webui, Telemetry(Health("redis")), "webui-1")
        async with TestClient(TestServer(app)) as page:
            await until(lambda: shows(page, "/json", lambda shown: shown.get("hashes") == 10 and shown["coins"] == 2))
            await until(lambda: shows(page, "/api/load-tests", lambda shown: len(shown["reports"]) == 1))
    assert not causes(lines)


async def shows(page: Any, path: str, wanted: Callable[[Any], bool]) -> bool:
    async with page.get(path) as response:
        return response.status == 200 and wanted(json.loads(await response.text()))


async def test_what_was_counted_is_there_after_a_restart(locked: LockedRedis) -> None:
    """Redis loads scripts' writes as its default user, who must be allowed to do them."""
    async with sending(WorkerSettings(**locked.settings("worker", instance="w"))) as made:
        made.add(report(1, hashes=5))
        assert await made.settle(5)
    locked.kill()
    locked.start()
    async with open_client(locked.access("webui")) as client:
        assert await client.mget("hashes") == [b"5"]


@pytest.mark.parametrize(
    "missing",
    [
        *(
            "+hget",
            "+hlen",
            "+xlen",
            "+incrby",
            "+hset",
            "+expire",
            "+time",
            "+xadd",
            "+hincrbyfloat",
            "+hkeys",
            "+hdel",
        ),
        *("+get", "+set", "+del", "+xinfo|stream", "+zcard", "+zadd", "+zrangebyscore", "+zrem", "+info|memory"),
    ],
)
async def test_a_right_that_is_missing_counts_nothing_half(redis: RedisServer, missing: str) -> None:
    """A script's writes are not undone, so it must not begin; when the right is there, it counts once."""
    admin = redis.client()
    rules = redis_users.USERS["worker"]
    set_users(admin, {"worker": rules.replace(missing, "+ping")})
    url = redis.url.replace("://", "://worker:worker@")
    with capture_logs() as lines:
        async with sending(WorkerSettings(redis_url=url, instance="w")) as made:
            made.add(report(1, hashes=5, wallet=(("ab", b"x"),)))
            await until(lambda: said(lines))
            ready = [made.taking]
            assert admin.get("hashes") is None
            set_users(admin, {"worker": rules})
            assert await made.settle(5)
            ready.append(made.taking)
    assert ready == [False, True]
    assert (admin.get("hashes"), admin.xlen("reports"), admin.hlen("wallet")) == ("5", 1, 1)
    [cause] = causes(lines)
    assert "the user in REDIS_URL must have the right to it" in cause


async def test_a_page_without_rights_says_so_and_is_not_ready(redis: RedisServer) -> None:
    admin = redis.client()
    set_users(admin, {"webui": redis_users.USERS["webui"].replace("+mget", "+ping")})
    access = RedisAccess(redis.url.replace("://", "://webui:webui@"))
    health = Health("redis")
    health.started()
    with capture_logs() as lines:
        async with TestClient(TestServer(make_app(access, Telemetry(health), "webui-1"))) as page:
            await until(lambda: said(lines))
            assert not await is_ready(page)
            set_users(admin, {"webui": redis_users.USERS["webui"]})
            await until(lambda: is_ready(page))
    [cause] = causes(lines)
    assert "the user in REDIS_URL must have the right to it" in cause
