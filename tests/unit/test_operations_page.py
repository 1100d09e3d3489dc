import re
from pathlib import Path

import pytest
from support import operations_page

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yml"
SERVICES = ["rng", "hasher", "worker", "webui"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_its_tables(service: str) -> None:
    names = [row.name for row in operations_page.described() if service in row.services]
    assert "dockercoins_ready" in names
    assert len(names) == len(set(names)) > 5


def test_every_series_that_is_spoken_of_is_in_a_table() -> None:
    known = set()
    for row in operations_page.described():
        parts = [f"{row.name}_{part}" for part in ("bucket", "sum", "count")] if row.type == "histogram" else []
        known |= {row.name, *parts}
    assert operations_page.spoken_of() <= known


def test_every_alert_is_explained_and_every_recorded_series_is_one() -> None:
    rules = RULES.read_text()
    assert operations_page.alerts() == set(re.findall(r"\balert: *(\w+)", rules))
    assert operations_page.recorded() <= set(re.findall(r"\brecord: *([\w:]+)", rules))
