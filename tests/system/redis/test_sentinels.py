from collections.abc import Iterator
from signal import SIGCONT

import pytest
from support.ledgers import first_cause
from support.redis_deployment import SentinelSet, deployed
from system.redis.takeover import Takeover, reporting


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelSet]:
    made = SentinelSet(tmp_path_factory.mktemp("sentinels"))
    with deployed(made):
        yield made


async def test_sentinels_that_are_frozen_are_passed_over(deployment: SentinelSet) -> None:
    for sentinel in deployment.sentinels[:2]:
        sentinel.freeze()
    try:
        async with reporting(deployment) as made:
            made.add()
            await made.ledger.settled()
            assert made.ledger.taking
    finally:
        for sentinel in deployment.sentinels:
            sentinel.send(SIGCONT)


async def test_a_master_that_no_sentinel_knows_is_named(deployment: SentinelSet) -> None:
    cause = await first_cause(deployment.url.replace("/coins", "/other"))
    assert "this Sentinel knows no master other" in cause


class TestTakeover(Takeover):
    pass
