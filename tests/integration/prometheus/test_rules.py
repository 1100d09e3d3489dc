"""What is in deploy/prometheus, judged by Prometheus' own tool."""

import subprocess

import pytest
from support.compose_project import ROOT

FOLDER = ROOT / "deploy" / "prometheus"


@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "--lint-fatal", "prometheus.yml"),
        ("check", "rules", "--lint-fatal", "rules.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_nothing_wrong(promtool: str, words: tuple[str, ...]) -> None:
    done = subprocess.run([promtool, *words], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
