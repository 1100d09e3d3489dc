import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.compose_project import ROOT, ComposeProject, environment
from support.waiting import wait_until

SERVICES = ("webui", "rng", "hasher")
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def watched(tag: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeProject]:
    copy = tmp_path_factory.mktemp("checkout")
    unneeded = (".*_cache", ".git", ".venv", "build", "data", "__pycache__", "tests", "docs", "bench")
    shutil.copytree(ROOT, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*unneeded))
    project = ComposeProject(f"{tag}-watched", copy, ("compose.yaml", "compose.watch.yaml"))
    try:
        project.compose("up", "--detach", "--wait", *SERVICES)
        words, env = project.command("watch", "--no-up", *SERVICES), environment(project.settings)
        log = copy / "watch.log"
        with log.open("w") as file, subprocess.Popen(words, env=env, stdout=file, stderr=file) as watch:
            try:
                wait_until(lambda: "Watch enabled" in log.read_text(), LIMIT_S)
                yield project
            finally:
                watch.terminate()
    finally:
        project.down()
        project.remove_images()


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_a_changed_file_of_the_page_is_there_without_a_restart(watched: ComposeProject) -> None:
    (before,) = watched.containers("webui")
    append(watched.root / "webui_svc/static/index.html", "<!-- changed -->\n")
    wait_until(lambda: "<!-- changed -->" in watched.get("/"), LIMIT_S)
    (after,) = watched.containers("webui")
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


def test_changed_source_restarts_its_service(watched: ComposeProject) -> None:
    hasher = watched.containers("hasher")[0]["State"]["StartedAt"]
    append(watched.root / "rng_svc/service.py", "print('changed source runs')\n")
    wait_until(lambda: "changed source runs" in watched.logs("rng"), LIMIT_S)
    assert watched.containers("hasher")[0]["State"]["StartedAt"] == hasher


def test_what_a_service_is_built_from_beside_its_source_rebuilds_its_image(watched: ComposeProject) -> None:
    # One that a single service watches: of two that are recreated at once, compose 2.26 lets one fail.
    before = watched.run("images", "--quiet", "hasher").stdout
    append(watched.root / "hasher_svc/kernel.c", "int changed(void) { return 1; }\n")
    log = watched.root / "watch.log"
    wait_until(lambda: watched.run("images", "--quiet", "hasher").stdout not in {before, ""}, 180, log.read_text)
