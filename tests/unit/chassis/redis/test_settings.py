import pytest

from chassis.redis.schema import Keys
from chassis.redis.settings import Deployment
from chassis.settings import SettingsError
from webui_svc.settings import WebuiSettings
from worker_svc.settings import WorkerSettings

SENTINELS = "redis-sentinel://one:26379,two/coins"
CLUSTER = "rediss-cluster://worker:p%40ss%3Aw,rd@one:7000,[::1]:7001,three"


def test_a_url_has_the_nodes_and_the_login() -> None:
    sentinels, cluster = Deployment.parse(SENTINELS), Deployment.parse(CLUSTER)
    assert sentinels
    assert cluster
    assert (sentinels.is_cluster, sentinels.name) == (False, "coins")
    assert sentinels.nodes == (("one", 26_379), ("two", 26_379))
    assert (cluster.is_cluster, cluster.nodes) == (True, (("one", 7_000), ("::1", 7_001), ("three", 6_379)))
    assert Deployment.parse("redis://one:6379/0") is Deployment.parse("unix:///tmp/redis.sock") is None
    assert (cluster.username, cluster.password, cluster.encrypted) == ("worker", "p@ss:w,rd", True)
    assert (sentinels.username, sentinels.password, sentinels.encrypted) == (None, None, False)


def test_all_keys_share_hash_slot_in_a_cluster() -> None:
    assert WorkerSettings(redis_url=CLUSTER).redis.prefix == "{dockercoins}:"
    assert WorkerSettings(redis_url=CLUSTER, redis_prefix="a:{b}").redis.keys.worker_totals("w") == "a:{b}totals:w"


@pytest.mark.parametrize("prefix", ["", "coins:", "{}", "}{", "{coins"])
def test_a_prefix_without_a_hash_tag_is_refused_with_a_cluster(prefix: str) -> None:
    assert not Keys(prefix).share_hash_slot
    with pytest.raises(SettingsError, match=r"REDIS_PREFIX=.* is not allowed with a cluster"):
        WebuiSettings(redis_url=CLUSTER, redis_prefix=prefix)


@pytest.mark.parametrize(
    ("url", "name"), [("redis://one:6379", "one"), ("unix:///x", "redis"), (SENTINELS, "coins"), (CLUSTER, "one")]
)
def test_a_server_or_deployment_has_a_name_for_people(url: str, name: str) -> None:
    assert WorkerSettings(redis_url=url).redis.name == name
