import re
from pathlib import Path

import pytest

from docs import configuration, metrics

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
RULES = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()


def test_the_configuration_page_is_up_to_date() -> None:
    assert configuration.PAGE.read_text() == configuration.page()


async def test_the_metrics_page_is_up_to_date() -> None:
    assert metrics.PAGE.read_text() == await metrics.page()


def test_every_variable_of_the_compose_files_is_on_the_configuration_page() -> None:
    files = [*ROOT.glob("compose*.yaml"), *(ROOT / "deploy" / "swarm").glob("*.yaml")]
    named = {name for file in files for name in re.findall(r"\$\{(\w+)", file.read_text())}
    assert named
    assert not [name for name in named if f"`{name}`" not in configuration.PAGE.read_text()]


def test_every_series_that_a_page_or_a_rule_names_is_on_the_metrics_page() -> None:
    known = set(re.findall(r"^\| `(\w+)`", metrics.PAGE.read_text(), re.MULTILINE))
    for text in (RULES, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))):
        named = set(re.findall(r"\b(?:dockercoins|grpc_(?:server|client))_[a-z_]+\b(?!\*)", text))
        assert {re.sub("_(bucket|sum|count)$", "", name) for name in named} <= known


def test_every_alert_is_explained() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"\balert: *(\w+)", RULES)) == set(
        re.findall(r"^\| `(DockerCoins\w+)` \|", page, re.MULTILINE)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"\btests/[\w./]*\w", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_command_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:`|^    )make ([a-z][a-z0-9-]*)", page.read_text(), re.MULTILINE)
    }
    assert "test" in named
    assert named <= targets
