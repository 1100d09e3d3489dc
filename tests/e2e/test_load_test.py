"""`docker compose run --rm load-test`, with nothing running before."""

import json

from support.compose_project import Start

SHORT = ("--batch-sizes", "1,4096", "--duration", "1", "--warm-up", "0.5", "--repeat", "1")


def test_it_measures_the_services_it_starts_and_no_worker(make_project: Start) -> None:
    project = make_project(PACE="full")
    output = project.ask("run", "--rm", "--no-TTY", "load-test", *SHORT, "--format", "json")
    report = json.loads(output[output.index("{") :])
    assert report["conditions"]["targets"] == {"rng": "dns:///rng:50051", "hasher": "dns:///hasher:50151"}
    assert [each["point"]["batch_size"] for each in report["points"]] == [1, 4096]
    assert all(each["summary"]["hashes_per_second"]["median"] > 100 for each in report["points"])
    assert not project.containers("worker")
    assert not project.containers("load-test")


def test_its_page_comes_out_as_it_is(make_project: Start) -> None:
    project = make_project(PACE="full")
    page = project.ask("run", "--rm", "--no-TTY", "load-test", *SHORT, "--html", "-")
    assert page.lstrip().startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
