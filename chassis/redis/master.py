"""Which server of a deployment is the master: Sentinels or the nodes of a cluster name it.

redis-py's own Sentinel is not used: one that is cut off from the others and still names the old master stays first in
its list, a Sentinel that wants a password hides behind "no master found", and its limits rely on asyncio.wait_for,
which before Python 3.12 can swallow a cancellation. Its cluster client sends keyless commands to any node.
"""

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from chassis.redis import errors
from chassis.redis.settings import Node
from chassis.timing import deadline

# One node must name the master within this time, before the next one is queried: a frozen one takes all of it, and a
# report has two seconds in all (worker_svc.ledger).
REPLY_LIMIT_S = 0.5

# Opens a client of one node. Closing the client closes its connection.
OpenNode = Callable[[Node], Redis]

# Queries one node for the master, and for other nodes that can be queried, too. Raises what a client of Redis raises,
# and RedisError where the node names none.
Query = Callable[[Node], Awaitable[tuple[Node, Iterable[Node]]]]


class MasterFinder:
    """Finds the master by querying nodes: the last one that named it first, those that failed or were wrong last."""

    def __init__(self, nodes: tuple[Node, ...], query: Query) -> None:
        self._given = nodes
        self._query = query
        # In random order, or all workers would query the same one.
        self._nodes = random.sample(nodes, len(nodes))

    async def find(self) -> Node:
        """Return the master's address.

        Raises a permanent error of a node's, such as AuthenticationError, when no node names the master in time, and
        redis.exceptions.ConnectionError when there is none.
        """
        causes = []
        permanent: Exception | None = None
        for node in tuple(self._nodes):
            self._deprioritize(node)
            try:
                async with deadline(REPLY_LIMIT_S, "reply"):
                    master, others = await self._query(node)
            except (RedisError, OSError, TimeoutError) as error:
                causes.append(f"{node[0]}:{node[1]}: {str(error) or type(error).__name__}")
                if errors.is_permanent(error):
                    permanent = error
            else:
                self._nodes = list(dict.fromkeys((node, *self._nodes, *self._given, *others)))
                return master
        if permanent is not None:
            raise permanent
        raise RedisConnectionError(f"no node names the Redis master ({'; '.join(causes)})")

    def mark_stale(self) -> None:
        """Query other nodes first: the one that replied last named a server that is not the master.

        A node that is cut off from the others goes on naming the old one.
        """
        self._deprioritize(self._nodes[0])

    def _deprioritize(self, node: Node) -> None:
        self._nodes = [*(each for each in self._nodes if each != node), node]


def sentinel_query(name: str, open_node: OpenNode, open_with_login: OpenNode) -> Query:
    """Return a query of Sentinels for the master of that name.

    As https://redis.io/docs/latest/develop/reference/sentinel-clients/ has it. Most Sentinels want no password, and
    some that of the servers.
    """
    command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)

    async def query(sentinel: Node) -> tuple[Node, Iterable[Node]]:
        try:
            found = await _execute(open_node(sentinel), *command)
        except AuthenticationError:
            found = await _execute(open_with_login(sentinel), *command)
        if not found:
            raise RedisError(f"this Sentinel has no master {name}")
        host, port = found
        return (_text(host), int(port)), ()

    return query


def cluster_query(key: str, open_node: OpenNode) -> Query:
    """Return a query of cluster nodes for the one that has the slot of a key."""
    slot = key_slot(key.encode())

    async def query(node: Node) -> tuple[Node, Iterable[Node]]:
        ranges = await _execute(open_node(node), "CLUSTER", "SLOTS")
        addresses = [(first, last, [_address(each, node) for each in nodes]) for first, last, *nodes in ranges]
        for first, last, nodes in addresses:
            if first <= slot <= last:
                return nodes[0], [each for _, _, others in addresses for each in others]
        raise RedisError(f"no node has slot {slot}")

    return query


async def _execute(client: Any, *command: str) -> Any:  # redis-py has no types for these commands
    async with client:
        return await client.execute_command(*command)


def _address(named: Any, by: Node) -> Node:
    """Return the address of a named node; one without a host has that of the node that names it."""
    host = _text(named[0] or "")
    return (by[0] if host in {"", "?"} else host), int(named[1])


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
