import asyncio
from collections.abc import Iterator

import pytest
from support.redis_deployment import Cluster, deployed
from system.redis.takeover import Takeover, reporting


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    with deployed(made):
        yield made


async def test_all_keys_are_in_one_slot(deployment: Cluster) -> None:
    deployment.ask("HSET", deployment.keys.worker("w-0"), "sequence", 1)
    deployment.ask("ZADD", deployment.keys.workers, 1_700_000_000, "w-0")
    async with reporting(deployment) as made:
        made.add()
        await made.settle()
    names = {"hashes", "coins", "reports", "totals", "totals:w-1", "worker:w-1", "workers"}
    in_slot = deployment.tell(deployment.master, "GETKEYSINSLOT", deployment.slot, 100)
    assert set(in_slot) == {f"{{dockercoins}}:{name}" for name in names}
    assert sum(server.client().dbsize() for server in deployment.servers if server.client().role()[0] == "master") == 7


class TestTakeover(Takeover):
    pass


async def test_reports_wait_while_their_slot_moves_to_another_node(deployment: Cluster) -> None:
    """The last test of this file: the node that has the slot then has no replicas."""
    async with reporting(deployment) as made:
        async with made.all_the_time():
            await asyncio.to_thread(deployment.move_slot)
            await asyncio.sleep(0.5)
        await made.settle()
