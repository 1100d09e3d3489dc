from typing import Any

import pytest

from chassis.redis.deployment import Deployment, Kind
from chassis.redis.key_names import CLUSTER_PREFIX, KeyNames
from chassis.settings import SettingsError
from webui_svc.settings import WebuiSettings
from worker_svc.settings import WorkerSettings

SENTINELS = "redis-sentinel://one:26379,two/coins"
CLUSTER = "redis-cluster://one:7000,[::1]:7001,three"


def load(**variables: Any) -> WorkerSettings:
    return WorkerSettings.load(**variables)


def test_sentinels_are_told_from_the_name_of_their_master() -> None:
    found = Deployment.parse(SENTINELS)
    assert found is not None
    assert (found.kind, found.name, found.encrypted) == (Kind.SENTINEL, "coins", False)
    assert found.nodes == (("one", 26_379), ("two", 26_379))
    assert (found.username, found.password) == (None, None)


def test_nodes_of_a_cluster_have_the_port_of_redis_unless_another_is_given() -> None:
    found = Deployment.parse(CLUSTER)
    assert found is not None
    assert (found.kind, found.name) == (Kind.CLUSTER, "")
    assert found.nodes == (("one", 7_000), ("::1", 7_001), ("three", 6_379))


def test_a_login_may_have_any_character_in_its_escaped_form() -> None:
    found = Deployment.parse("rediss-cluster://worker:p%40ss%3Aw,rd@one")
    assert found is not None
    assert (found.username, found.password, found.encrypted) == ("worker", "p@ss:w,rd", True)
    assert found.nodes == (("one", 6_379),)


@pytest.mark.parametrize("url", ["redis://one:6379/0", "rediss://one", "unix:///tmp/redis.sock"])
def test_one_server_is_no_deployment(url: str) -> None:
    assert Deployment.parse(url) is None


@pytest.mark.parametrize("url", [SENTINELS, CLUSTER, "rediss-sentinel://:secret@one/coins", "redis-cluster://one/"])
def test_a_worker_takes_it(url: str) -> None:
    assert load(redis_url=url).redis.url == url


@pytest.mark.parametrize(
    "url",
    [
        "redis-sentinel://one:26379", "redis-sentinel:///coins", "redis-sentinel://one,/coins", "redis-cluster://",
        "redis-cluster://one:0", "redis-cluster://one:7000,two:65536", "redis-sentinel://one/co ins",
    ],
)  # fmt: skip
def test_what_names_no_servers_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"REDIS_URL=.* is not allowed: it must be redis://HOST:PORT"):
        load(redis_url=url)


def test_an_error_does_not_tell_the_password() -> None:
    with pytest.raises(SettingsError) as raised:
        load(redis_url="redis-sentinel://worker:hidden@one:26379")
    assert "hidden" not in str(raised.value)
    assert "redis-sentinel://***@one:26379" in str(raised.value)


def test_names_are_the_originals_unless_asked_otherwise() -> None:
    for url in ("redis://one", SENTINELS):
        keys = load(redis_url=url).redis.keys
        assert (keys.hashes, keys.wallet, keys.worker("w")) == ("hashes", "wallet", "worker:w")
    assert load(redis_prefix="class-a:").redis.keys.hashes == "class-a:hashes"


def test_in_a_cluster_all_names_have_one_slot() -> None:
    assert load(redis_url=CLUSTER).redis.prefix == CLUSTER_PREFIX
    assert load(redis_url=CLUSTER, redis_prefix="a:{b}").redis.keys.totals_of("w") == "a:{b}totals:w"


@pytest.mark.parametrize("prefix", ["", "coins:", "{}", "}{", "{coins"])
def test_a_prefix_that_keeps_no_slot_is_refused_with_a_cluster(prefix: str) -> None:
    assert not KeyNames(prefix).have_one_slot
    with pytest.raises(SettingsError, match=r"REDIS_PREFIX=.* is not allowed with a cluster"):
        WebuiSettings.load(redis_url=CLUSTER, redis_prefix=prefix)


@pytest.mark.parametrize("prefix", ["co*ns", "[a]", "a b", "x" * 65])
def test_a_prefix_that_a_search_would_misread_is_refused(prefix: str) -> None:
    with pytest.raises(SettingsError, match=r"REDIS_PREFIX=.* is not allowed: it must be at most 64"):
        load(redis_prefix=prefix)


@pytest.mark.parametrize(
    ("url", "name"), [("redis://one:6379", "one"), ("unix:///x", "redis"), (SENTINELS, "coins"), (CLUSTER, "one")]
)
def test_people_are_told_which_redis_it_is(url: str, name: str) -> None:
    assert load(redis_url=url).redis.name == name
