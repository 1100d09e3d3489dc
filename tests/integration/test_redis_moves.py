"""Two real Redis servers, and a name that a real name server gives to one of them and then to the other."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import dns.exception
import dns.message
import dns.query
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs
from support.dns_server import DnsServer, Mood, dns_server
from support.ledgers import ledger, report
from support.redis_server import RedisServer, redis_server
from support.waiting import until

from chassis.redis.client import open_client
from chassis.redis.settings import RedisAccess
from worker_svc.ledger import Ledger

NAME = "redis.test"


class Servers(NamedTuple):
    ours: RedisServer
    other: RedisServer
    names: DnsServer

    @property
    def url(self) -> str:
        return f"redis://{NAME}:{self.ours.port}"

    def point_to(self, server: RedisServer) -> None:
        self.names.addresses[NAME] = [server.host]


@pytest.fixture
def servers(tmp_path: Path, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """The name is the first one's. Clients look it up as they always do, but send the queries to this name server."""
    resolve = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host != NAME:
            return resolve(host, *arguments, **options)
        with suppress(OSError, dns.exception.Timeout):
            answer = dns.query.udp(dns.message.make_query(host, "A"), "127.0.0.1", 0.3, names.port).answer
            found = [each for line in answer for item in line for each in resolve(str(item), *arguments, **options)]
            if found:
                return found
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr("chassis.redis.client.MASTER_CHECK_INTERVAL_S", 0.1)
    with (
        dns_server(NAME) as names,
        redis_server(tmp_path / "other", host="127.0.0.2", port=own_redis.port) as other,
    ):
        made = Servers(own_redis, other, names)
        made.point_to(own_redis)
        yield made


@asynccontextmanager
async def reporting(servers: Servers) -> AsyncIterator[tuple[Ledger, Callable[[Callable[[], object]], Awaitable[int]]]]:
    """Yield a ledger, and a function that makes reports until a condition holds and returns how many there are."""
    sequences = count(1)
    async with ledger(servers.url) as made:

        async def report_until(condition: Callable[[], object]) -> int:
            while True:
                sequence = next(sequences)
                made.add(report(sequence))
                if condition():
                    return sequence
                await asyncio.sleep(0.05)

        await report_until(lambda: made.counted >= 3)
        yield made, report_until


def errors(lines: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [line for line in lines if line["log_level"] == "error"]


async def test_a_client_goes_where_the_name_points_although_its_server_still_responds(servers: Servers) -> None:
    servers.other.client().set("other", 1)
    async with open_client(RedisAccess(servers.url)) as client:
        assert not await client.exists("other")
        servers.point_to(servers.other)

        async def there() -> bool:
            with suppress(RedisConnectionError):
                return bool(await client.exists("other"))
            return False

        await until(there)


@pytest.mark.parametrize("mood", [Mood.SILENT, Mood.FAILING, Mood.EMPTY])
async def test_a_look_up_that_fails_changes_nothing(servers: Servers, mood: Mood) -> None:
    async with open_client(RedisAccess(servers.url)) as client:
        assert await client.ping()
        servers.names.mood = mood
        before = servers.names.queries

        async def still_there() -> bool:
            await client.ping()
            return servers.names.queries > before + 3

        await until(still_there)


async def test_a_name_that_names_another_server_once_changes_nothing(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, look_ups = socket.getaddrinfo, count()

    def alternate(*arguments: Any, **options: Any) -> Any:
        servers.point_to((servers.ours, servers.other)[next(look_ups) % 2])
        return resolve(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", alternate)
    async with open_client(RedisAccess(servers.url)) as client:

        async def still_there() -> bool:
            await client.set("ours", 1)
            return servers.names.queries > 8

        await until(still_there)
    assert servers.other.client().dbsize() == 0


async def test_reports_go_to_the_new_server_of_a_ledger_that_moved_with_its_data(servers: Servers) -> None:
    async with reporting(servers) as (made, report_until):
        [before] = servers.ours.client().mget("hashes")
        servers.other.client().set("hashes", before)
        servers.other.client().hset("worker:w-1", "sequence", int(before) // 10)
        servers.point_to(servers.other)
        with capture_logs() as lines:
            last = await report_until(lambda: servers.other.hashes > int(before) + 30)
            assert await made.flush(20)
    assert servers.other.hashes == 10 * last
    assert not errors(lines)


async def test_nothing_is_written_to_another_s_redis_that_has_the_name_for_a_while(servers: Servers) -> None:
    async with reporting(servers) as (made, report_until):
        with capture_logs() as lines:
            servers.point_to(servers.other)
            await report_until(lambda: errors(lines))
            last = await report_until(lambda: made.full)
            assert not made.accepting
            assert servers.other.client().dbsize() == 0
            servers.point_to(servers.ours)
            assert await made.flush(20)
    assert servers.ours.hashes == 10 * last
    assert servers.other.client().dbsize() == 0
    [line] = errors(lines)
    assert "no report of this worker" in line["event"]


async def test_our_redis_that_was_emptied_is_used_after_a_while(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_svc.ledger.FOREIGN_LIMIT_S", 1.0)
    async with reporting(servers) as (made, report_until):
        with capture_logs() as lines:
            servers.ours.client().flushall()
            await report_until(lambda: errors(lines))
            assert servers.ours.client().dbsize() == 0
            last = await report_until(lambda: servers.ours.client().exists("hashes"))
            assert await made.flush(20)
    # What Redis had acknowledged within the last ten seconds is sent again.
    assert servers.ours.hashes == 10 * last
    assert len(errors(lines)) == 1
