"""`docker compose run --rm load-test`, with nothing running before."""

import json
import os
from pathlib import Path

from support.compose_project import Start

SHORT = ("--batch-sizes", "1,4096", "--duration", "1", "--warm-up", "0.5", "--repeat", "1")


def test_it_measures_the_services_it_starts_and_no_worker(make_project: Start, tmp_path: Path) -> None:
    project = make_project(PACE="full")
    reports = ("--output", "/reports/report.json", "--html", "/reports/report.html")
    output = project.ask(
        *("run", "--rm", "--no-TTY", "--user", str(os.getuid()), "--volume", f"{tmp_path}:/reports"),
        *("load-test", *SHORT, *reports, "--publish"),
    )
    assert "hashes/s" in output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["conditions"]["targets"] == {"rng": "dns:///rng:50051", "hasher": "dns:///hasher:50151"}
    assert [each["point"]["batch_size"] for each in report["points"]] == [1, 4096]
    assert all(each["summary"]["hashes_per_second"]["median"] > 100 for each in report["points"])
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert project.ask("exec", "--no-TTY", "redis", "redis-cli", "LLEN", "load_tests").strip() == "1"
    assert not project.containers("worker")
    assert not project.containers("load-test")
