"""`docker compose watch`, on a copy of the checkout."""

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.compose_project import ROOT, ComposeProject

FILES = ("compose.yaml", "compose.watch.yaml")


@pytest.fixture(scope="module")
def watched(tag: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeProject]:
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copytree(
        ROOT,
        copy,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(".*_cache", ".git", ".venv", "build", "data", "node_modules", "__pycache__"),
    )
    project = ComposeProject(f"{tag}-watched", copy, FILES)
    try:
        project.up()
        with (copy / "watch.log").open("w") as log:
            watch = subprocess.Popen(
                project.command("watch", "--no-up"), env=project.environment(), stdout=log, stderr=log
            )
            try:
                until(lambda: "Watch enabled" in (copy / "watch.log").read_text(), 20)
                yield project
            finally:
                watch.terminate()
                watch.wait(20)
    finally:
        project.down()
        project.remove_images()


def until(condition: Callable[[], bool], limit: float) -> float:
    """The seconds until it holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit
        time.sleep(0.1)
    return time.monotonic() - began


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def page(project: ComposeProject) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{project.page}/", timeout=5) as response:
        text: str = response.read().decode()
        return text


def test_a_changed_file_of_the_page_is_there_at_once(watched: ComposeProject) -> None:
    (before,) = watched.containers("webui")
    append(watched.root / "webui_svc/static/index.html", "<!-- changed -->\n")
    assert until(lambda: "<!-- changed -->" in page(watched), 10) < 3
    (after,) = watched.containers("webui")
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


def test_changed_source_restarts_its_service(watched: ComposeProject) -> None:
    hasher = watched.containers("hasher")[0]["State"]["StartedAt"]
    append(watched.root / "rng_svc/service.py", "print('changed source runs')\n")
    until(lambda: "changed source runs" in watched.logs("rng"), 15)
    assert watched.containers("hasher")[0]["State"]["StartedAt"] == hasher


def test_a_changed_lock_file_rebuilds(watched: ComposeProject) -> None:
    # One that a single service watches: of two that are recreated at once, compose 2.26 lets one fail.
    before = watched.run("images", "--quiet", "webui").stdout
    append(watched.root / "requirements/webui.txt", "# changed\n")
    until(lambda: watched.run("images", "--quiet", "webui").stdout not in {before, ""}, 180)
