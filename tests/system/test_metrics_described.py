"""What all services say on /metrics while they mine, beside what docs/operations.md says of it."""

from collections.abc import Iterator

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from support import operations_page
from support.redis_server import redis_server
from support.service_process import service_processes
from system.health.system import SERVICES, Service, System, until

OURS = ("dockercoins_", "grpc_")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Service]]:
    """All four, and the page has heard of what is mined."""
    folder = tmp_path_factory.mktemp("mine")
    with redis_server(folder / "redis") as redis, service_processes(folder) as processes:
        system = System(processes, redis)
        services = {name: system.start(name) for name in SERVICES}
        until(lambda: int(redis.client().get("hashes") or 0) > 3)
        yield services


def families(service: Service) -> dict[str, Metric]:
    """Ours, by the names that their samples have."""
    status, text = service.ask("/metrics")
    assert status == 200
    ours = [each for each in text_string_to_metric_families(text) if each.name.startswith(OURS)]
    return {f"{each.name}_total" if each.type == "counter" else each.name: each for each in ours}


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_told_is_described_and_the_other_way_round(mine: dict[str, Service], name: str) -> None:
    told = {each: family.type for each, family in families(mine[name]).items()}
    assert told == {row.name: row.type for row in operations_page.described() if name in row.services}


@pytest.mark.parametrize("name", SERVICES)
def test_series_have_the_labels_that_are_described(mine: dict[str, Service], name: str) -> None:
    labels = {row.name: row.labels for row in operations_page.described()}
    for each, family in families(mine[name]).items():
        assert family.samples, each
        assert {frozenset(sample.labels) - {"le"} for sample in family.samples} == {labels[each]}, each
