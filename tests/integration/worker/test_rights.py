import asyncio
import re
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from support.ledgers import causes, ledger, report, send
from support.load_test_reports import measurement, point
from support.load_test_reports import report as load_test_report
from support.redis_server import RedisServer
from support.waiting import until
from support.webui_page import is_ready, webui_page

from chassis.redis.settings import RedisAccess
from deploy.certs.redis_users import USERS, WEBUI, WORKER
from load_test.output import publish

# Of the worker's rights, those that its script needs.
ALL = re.findall(r"\+([\w|]+)", USERS[WORKER])
NEEDED = sorted({*ALL} - {"ping", "script|load", "evalsha", "multi", "exec", "lpush", "ltrim"})


@pytest.fixture
def users(redis: RedisServer) -> Iterator[RedisServer]:
    """The session's server with the users of a deployment."""
    redis.set_users(USERS)
    yield redis
    redis.client().acl_deluser(*USERS)


def url(redis: RedisServer, user: str) -> str:
    return redis.url.replace("://", f"://{user}:{user}@")


async def test_redis_has_nothing_to_refuse_the_worker_and_the_page(users: RedisServer) -> None:
    admin = users.client()
    admin.acl_log_reset()
    reports = (report(number, 5, 1, wallet=((f"a{number}", b"x"),)) for number in (1, 2))
    await send(url(users, WORKER), *reports)
    report_of_load_test = load_test_report({point(4): [measurement(), measurement()]})
    await asyncio.to_thread(publish, report_of_load_test, RedisAccess(url(users, WORKER)))
    async with webui_page(url(users, WEBUI)) as page:
        await until(lambda: is_ready(page))
        async with page.get("/json") as response:
            assert {"hashes": 10, "coins": 2}.items() <= (await response.json()).items()
        async with page.get("/api/load-tests") as response:
            assert len((await response.json())["reports"]) == 1
    assert admin.acl_log() == []


@pytest.mark.parametrize("missing", NEEDED)
async def test_a_report_counts_nothing_until_no_right_is_missing(users: RedisServer, missing: str) -> None:
    """A script's writes are not undone, so it must not begin."""
    admin = users.client()
    users.set_users({WORKER: USERS[WORKER].replace(f"+{missing}", "+ping")})
    with capture_logs() as lines:
        async with ledger(url(users, WORKER)) as made:
            made.add(report(1, wallet=(("ab", b"x"),)))
            await until(lambda: causes(lines))
            assert (made.accepting, admin.get("hashes")) == (False, None)
            users.set_users({WORKER: USERS[WORKER]})
            assert await made.flush(20)
    assert (admin.get("hashes"), admin.xlen("reports"), admin.hlen("wallet")) == ("10", 1, 1)
    [cause] = causes(lines)
    assert "the user in REDIS_URL must have the right to it" in cause


async def test_a_page_that_has_never_read_redis_is_not_ready_and_says_why(users: RedisServer) -> None:
    users.set_users({WEBUI: USERS[WEBUI].replace("+mget", "+ping")})
    with capture_logs() as lines:
        async with webui_page(url(users, WEBUI)) as page:
            await until(lambda: causes(lines))
            async with page.get("/readyz") as response:
                assert (response.status, await response.text()) == (503, "not ready: redis\n")
            users.set_users({WEBUI: USERS[WEBUI]})
            await until(lambda: is_ready(page))
    [cause] = causes(lines)
    assert "the user in REDIS_URL must have the right to it" in cause
