"""What is in deploy/prometheus, judged by Prometheus' own tool."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.compose_project import ROOT

FOLDER = ROOT / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        assert "CI" not in os.environ, "there is no promtool"
        pytest.skip("there is no promtool; on Debian and Ubuntu, install prometheus")
    return found


@pytest.mark.parametrize(
    "words",
    ["check config --lint-fatal prometheus.yml", "check rules --lint-fatal rules.yml", "test rules rules_test.yml"],
)
def test_promtool_finds_nothing_wrong(promtool: str, words: str) -> None:
    command = [promtool, *words.split()]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_replicas_that_are_listed_and_not_found_keep_their_label(promtool: str, tmp_path: Path) -> None:
    """As docs/running.md has it for `make run`."""
    configuration: Any = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (scraped,) = configuration["scrape_configs"]
    del scraped["dns_sd_configs"], configuration["rule_files"]
    scraped["static_configs"] = [{"targets": ["localhost:9111"], "labels": {"service": "rng"}}]
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    words = [promtool, "check", "service-discovery", "--timeout=1s", str(path), scraped["job_name"]]
    (found,) = json.loads(subprocess.run(words, capture_output=True, check=True, timeout=60).stdout)
    assert found["labels"]["service"] == "rng"
