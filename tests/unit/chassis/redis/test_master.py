import asyncio
from unittest.mock import AsyncMock

import pytest
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from support.virtual_time import now

from chassis.redis.master import REPLY_LIMIT_S, MasterFinder, sentinel_query
from chassis.redis.settings import Node

A, B, C = ("a", 1), ("b", 2), ("c", 3)
OLD, NEW = ("old", 6379), ("new", 6379)


class Nodes:
    """Nodes that answer what they are given, fail with it, or are silent."""

    def __init__(self, **answers: Node | Exception | None) -> None:
        self.answers = answers
        self.order: list[str] = []
        self.finder = MasterFinder((A, B, C), self.query)

    async def query(self, node: Node) -> tuple[Node, tuple[Node, ...]]:
        self.order.append(node[0])
        answer = self.answers[node[0]]
        if answer is None:
            await asyncio.sleep(60)
        if not isinstance(answer, tuple):
            raise answer or TimeoutError
        return answer, ()


async def test_the_node_that_answered_is_queried_first_the_next_time() -> None:
    nodes = Nodes(a=RedisError("no"), b=NEW, c=RedisError("no"))
    assert await nodes.finder.find() == NEW
    nodes.order.clear()
    assert await nodes.finder.find() == NEW
    assert nodes.order == ["b"]


async def test_a_silent_node_is_skipped_and_queried_last_the_next_time() -> None:
    nodes = Nodes(a=None, b=NEW, c=NEW)
    while "a" not in nodes.order:
        assert await nodes.finder.find() == NEW
        nodes.finder.mark_stale()
    assert now() == REPLY_LIMIT_S
    nodes.order.clear()
    nodes.answers = {"a": NEW, "b": RedisError("no"), "c": RedisError("no")}
    assert await nodes.finder.find() == NEW
    assert nodes.order[-1] == "a"


async def test_a_node_that_names_a_stale_master_is_queried_after_the_others() -> None:
    """A Sentinel or a node that is cut off from the others goes on naming the former master."""
    nodes = Nodes(a=OLD, b=NEW, c=NEW)
    for _ in range(3):
        if await nodes.finder.find() == NEW:
            break
        nodes.finder.mark_stale()
    assert [await nodes.finder.find() for _ in range(3)] == [NEW] * 3


@pytest.mark.parametrize(("answer", "cause"), [(None, r"a:1: no reply within 0\.5 s"), (OSError("no"), "a:1: no")])
async def test_the_error_has_the_cause_of_each_node(answer: Exception | None, cause: str) -> None:
    nodes = Nodes(a=answer, b=answer, c=answer)
    with pytest.raises(RedisConnectionError, match=f"no node names the Redis master .*{cause}"):
        await nodes.finder.find()


async def test_the_client_logs_in_to_a_sentinel_that_requires_it() -> None:
    anonymous, known = AsyncMock(), AsyncMock()
    anonymous.execute_command.side_effect = AuthenticationError("NOAUTH")
    known.execute_command.return_value = (b"new", b"6379")
    assert await sentinel_query("coins", lambda _: anonymous, lambda _: known)(A) == (NEW, ())


@pytest.mark.parametrize("error", [AuthenticationError("WRONGPASS"), NoPermissionError("NOPERM")])
async def test_a_permanent_error_of_one_node_wins_over_nodes_that_are_away(error: Exception) -> None:
    nodes = Nodes(a=RedisConnectionError("away"), b=error, c=RedisConnectionError("away"))
    with pytest.raises(type(error), match=str(error)):
        await nodes.finder.find()
