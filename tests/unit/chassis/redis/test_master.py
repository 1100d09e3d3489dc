import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from support.virtual_time import now

from chassis.redis.deployment import Node
from chassis.redis.master import ANSWER_LIMIT, Master, MasterBySentinel

A, B, C = ("a", 1), ("b", 2), ("c", 3)
OLD, NEW = ("old", 6379), ("new", 6379)


class Asked(Master):
    """Its nodes answer what they are told to, or fail with it."""

    def __init__(self, **answers: Node | Exception | None) -> None:
        super().__init__((A, B, C))
        self.answers = answers
        self.order: list[str] = []

    async def ask(self, node: Node) -> Node:
        self.order.append(node[0])
        answer = self.answers[node[0]]
        if answer is None:
            await asyncio.sleep(60)
        if not isinstance(answer, tuple):
            raise answer or TimeoutError
        return answer


async def test_one_that_answered_is_asked_first_the_next_time() -> None:
    master = Asked(a=RedisError("no"), b=NEW, c=RedisError("no"))
    assert await master.find() == NEW
    master.order.clear()
    assert await master.find() == NEW
    assert master.order == ["b"]


async def test_one_that_does_not_answer_is_passed_over_and_asked_last_the_next_time() -> None:
    master = Asked(a=None, b=NEW, c=NEW)
    while "a" not in master.order:
        assert await master.find() == NEW
        master.distrust()
    assert now() == ANSWER_LIMIT
    master.order.clear()
    master.answers = {"a": NEW, "b": RedisError("no"), "c": RedisError("no")}
    assert await master.find() == NEW
    assert master.order[-1] == "a"


async def test_one_that_names_a_server_which_is_no_master_is_asked_after_the_others() -> None:
    """A Sentinel or a node that is cut off from the others goes on naming the one that it knew."""
    master = Asked(a=OLD, b=NEW, c=NEW)
    for _ in range(3):
        if await master.find() == NEW:
            break
        master.distrust()
    assert [await master.find() for _ in range(3)] == [NEW] * 3


@pytest.mark.parametrize(("answer", "cause"), [(None, r"a:1: no answer within 0\.5 s"), (OSError("no"), "a:1: no")])
async def test_the_error_says_why_a_node_did_not_say(answer: Exception | None, cause: str) -> None:
    master = Asked(a=answer, b=answer, c=answer)
    with pytest.raises(RedisConnectionError, match=f"nobody says which .*{cause}"):
        await master.find()


async def test_a_sentinel_that_wants_to_know_who_asks_is_told_it() -> None:
    @asynccontextmanager
    async def open_node(_: Node, *, login_needed: bool) -> AsyncIterator[Any]:
        refusal = None if login_needed else AuthenticationError("NOAUTH")
        yield Mock(execute_command=AsyncMock(side_effect=refusal, return_value=(b"new", b"6379")))

    assert await MasterBySentinel((A,), "coins", cast("Any", open_node)).find() == NEW


@pytest.mark.parametrize("error", [AuthenticationError("WRONGPASS"), NoPermissionError("NOPERM")])
async def test_what_is_to_be_mended_is_not_hidden_by_who_is_away(error: Exception) -> None:
    master = Asked(a=RedisConnectionError("away"), b=error, c=RedisConnectionError("away"))
    with pytest.raises(type(error), match=str(error)):
        await master.find()
