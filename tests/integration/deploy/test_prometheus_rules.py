import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.compose_project import ROOT
from support.programs import find_program, run

FOLDER = ROOT / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def promtool() -> str:
    return find_program("promtool", "prometheus")


@pytest.mark.parametrize(
    "words",
    ["check config --lint-fatal prometheus.yml", "check rules --lint-fatal rules.yml", "test rules rules_test.yml"],
)
def test_promtool_finds_nothing_wrong(promtool: str, words: str) -> None:
    done = run(promtool, *words.split(), cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


def test_replicas_that_are_listed_and_not_found_keep_their_label(promtool: str, tmp_path: Path) -> None:
    """As docs/running.md has it for `make run`."""
    configuration: Any = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (scraped,) = configuration["scrape_configs"]
    del scraped["dns_sd_configs"], configuration["rule_files"]
    scraped["static_configs"] = [{"targets": ["localhost:9111"], "labels": {"service": "rng"}}]
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    done = run(promtool, "check", "service-discovery", "--timeout=1s", path, scraped["job_name"])
    (found,) = json.loads(done.stdout)
    assert found["labels"]["service"] == "rng"
