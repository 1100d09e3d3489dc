from contextlib import suppress

from redis.exceptions import ConnectionError as RedisConnectionError
from support.redis_server import RedisServer

from chassis.redis.client import MasterConnection, client
from chassis.redis.master import MasterFinder
from chassis.redis.settings import Node


async def name_itself(node: Node) -> tuple[Node, tuple[Node, ...]]:
    return node, ()


async def test_a_sentinel_that_names_a_replica_is_marked_stale(redis: RedisServer, own_redis: RedisServer) -> None:
    """A replica refuses writes, but a client that only reads would stay there."""
    own_redis.client().replicaof("127.0.0.1", redis.port)
    finder = MasterFinder((("127.0.0.1", own_redis.port), ("127.0.0.1", redis.port)), name_itself)
    finder._nodes.sort(key=lambda node: node[1] == redis.port)
    ports = []
    async with client(MasterConnection, {"finder": finder, "checked": True}) as connected:
        for _ in range(3):
            with suppress(RedisConnectionError):
                ports.append((await connected.config_get("port"))["port"])
    assert ports == [str(redis.port)] * 2
