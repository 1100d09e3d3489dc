"""Which server of a deployment takes writes now."""

import random
from abc import ABC, abstractmethod
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from chassis.deadline import deadline
from chassis.redis import trouble
from chassis.redis.deployment import Node

ANSWER_LIMIT = 0.5
"""Seconds in which one node must say who is the master, before the next one is asked: a frozen one takes all of it, and
whoever asks waits two seconds (see worker_svc.ledger)."""


class OpenNode(Protocol):
    """Makes a client of a node."""

    def __call__(self, node: Node, *, login_needed: bool) -> Redis:
        """One that says who we are, or does not. Closing it closes its connection."""


class Master(ABC):
    """Finds it by asking nodes: first the one that knew it last, last those that did not answer or were wrong."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self._given = nodes
        # In any order, or all workers would ask the same one.
        self._nodes = random.sample(nodes, len(nodes))
        self.named: list[Node] = []
        """Further nodes, by the latest answer."""

    async def find(self) -> Node:
        """Its address.

        Raises redis.exceptions.ConnectionError when nobody says so in time, or else what is to be mended first, such as
        AuthenticationError.
        """
        causes = []
        to_mend: Exception | None = None
        for node in tuple(self._nodes):
            self._ask_last(node)
            try:
                async with deadline(ANSWER_LIMIT, "answer"):
                    found = await self.ask(node)
            except (RedisError, OSError, TimeoutError) as error:
                causes.append(f"{node[0]}:{node[1]}: {str(error) or type(error).__name__}")
                if trouble.must_be_mended(error):
                    to_mend = error
                continue
            self._nodes = list(dict.fromkeys((node, *self._nodes, *self._given, *self.named)))
            return found
        if to_mend is not None:
            raise to_mend
        raise RedisConnectionError(f"nobody says which Redis is the master ({'; '.join(causes)})")

    def distrust(self) -> None:
        """What was found last is no master: ask the others first, for who is cut off from them goes on naming it."""
        self._ask_last(self._nodes[0])

    def _ask_last(self, node: Node) -> None:
        self._nodes = [*(each for each in self._nodes if each != node), node]

    @abstractmethod
    async def ask(self, node: Node) -> Node:
        """What this node says. Raises what a client of Redis does, or RedisError where it doesn't know."""


class MasterBySentinel(Master):
    """The master of that name, by the word of a Sentinel.

    As https://redis.io/docs/latest/develop/reference/sentinel-clients/ has it. Most Sentinels want no password, and
    some that of the servers.
    """

    def __init__(self, nodes: tuple[Node, ...], name: str, open_node: OpenNode) -> None:
        super().__init__(nodes)
        self._name = name
        self._open_node = open_node

    async def ask(self, node: Node) -> Node:
        """What this Sentinel says."""
        try:
            return await self._ask(node, login_needed=False)
        except AuthenticationError:
            return await self._ask(node, login_needed=True)

    async def _ask(self, node: Node, *, login_needed: bool) -> Node:
        sentinel: Any  # its types lack some
        async with self._open_node(node, login_needed=login_needed) as sentinel:
            found = await sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
        if not found:
            raise RedisError(f"this Sentinel knows no master {self._name}")
        host, port = found
        return _text(host), int(port)


class MasterBySlot(Master):
    """The node of a cluster that has the slot of a key."""

    def __init__(self, nodes: tuple[Node, ...], key: str, open_node: OpenNode) -> None:
        super().__init__(nodes)
        self._slot = key_slot(key.encode())
        self._open_node = open_node

    async def ask(self, node: Node) -> Node:
        """What this node says; the others that it names are asked, too, from then on."""
        one: Any  # as above
        async with self._open_node(node, login_needed=True) as one:
            ranges = await one.execute_command("CLUSTER", "SLOTS")
        found = None
        self.named.clear()
        for first, last, master, *replicas in ranges:
            if first <= self._slot <= last:
                found = _address(master, node)
            self.named.extend(_address(each, node) for each in (master, *replicas))
        if found is None:
            raise RedisError(f"no node has slot {self._slot}")
        return found


def _address(told: Any, by: Node) -> Node:
    """Where a node is that names itself so; one that does not know its address is where it was asked."""
    host = _text(told[0] or "")
    return (by[0] if host in {"", "?"} else host), int(told[1])


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
