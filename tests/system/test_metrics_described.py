"""What all services say on /metrics while they mine, beside what docs/operations.md says of it."""

from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from support import operations_page
from support.mine import SERVICES, Mine, new_mine
from support.waiting import wait_until

OURS = ("dockercoins_", "grpc_")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mine]:
    """All four, and the page has heard of what is mined."""
    with new_mine(tmp_path_factory.mktemp("mine")) as made:
        made.start_all()
        wait_until(lambda: int(made.redis.client().get("hashes") or 0) > 3)
        yield made


def families(mine: Mine, name: str) -> dict[str, Metric]:
    """Ours, by the names that their samples have."""
    response = mine.probe(name, "/metrics")
    assert response is not None
    ours = [each for each in text_string_to_metric_families(response[1]) if each.name.startswith(OURS)]
    return {f"{each.name}_total" if each.type == "counter" else each.name: each for each in ours}


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_told_is_described_and_the_other_way_round(mine: Mine, name: str) -> None:
    told = {each: family.type for each, family in families(mine, name).items()}
    assert told == {row.name: row.type for row in operations_page.described() if name in row.services}


@pytest.mark.parametrize("name", SERVICES)
def test_series_have_the_labels_that_are_described(mine: Mine, name: str) -> None:
    labels = {row.name: row.labels for row in operations_page.described()}
    for each, family in families(mine, name).items():
        assert family.samples, each
        assert {frozenset(sample.labels) - {"le"} for sample in family.samples} == {labels[each]}, each
