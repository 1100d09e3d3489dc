from contextlib import suppress

from redis.exceptions import ConnectionError as RedisConnectionError
from support.redis_server import RedisServer

from chassis.redis.client import _client
from chassis.redis.connection import MasterConnection
from chassis.redis.deployment import Node
from chassis.redis.master import Master


class Named(Master):
    """Its nodes are Sentinels that each name another server."""

    async def ask(self, node: Node) -> Node:
        return node


async def test_who_names_a_replica_is_believed_no_more(redis: RedisServer, own_redis: RedisServer) -> None:
    """A replica refuses writes, but a client that only reads would stay there."""
    own_redis.client().replicaof("127.0.0.1", redis.port)
    master = Named((("127.0.0.1", own_redis.port), ("127.0.0.1", redis.port)))
    master._nodes.sort(key=lambda node: node[1] == redis.port)
    ports = []
    async with _client(MasterConnection, {"master": master, "checked": True}) as client:
        for _ in range(3):
            with suppress(RedisConnectionError):
                ports.append((await client.config_get("port"))["port"])
    assert ports == [str(redis.port)] * 2
