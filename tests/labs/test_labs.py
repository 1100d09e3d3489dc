"""The labs of docs/labs, and the tutorial, carried out as a student would.

Where it can, each gets a network of its own, so that the ports are those of the text, and labs can run side by side.
"""

import fcntl
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import programs
from support.lab_script import LAPTOP, kinds, steps
from support.lab_terminal import Student, Terminal, network_of_its_own

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "labs").glob("[0-9]*.md"))
LABS = [(page, kind) for page in [ROOT / "docs" / "tutorial.md", *PAGES] for kind in kinds(page.read_text())]

PARTS = [
    "What you will learn",
    "What you need",
    "What to do, and what you should see",
    "Why",
    "Clean up",
]

# What a student's folder has beside the files of the repository; data/ and other files that a lab makes are not there.
MADE = (".venv", "generated")


@contextmanager
def machine(*, alone: bool) -> Iterator[None]:
    """Have this machine alone, or beside labs that need hardly any CPU and no port that others have."""
    with (Path(tempfile.gettempdir()) / "dockercoins-labs").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextmanager
def laptop(*, at_full_pace: bool) -> Iterator[Callable[[], Terminal]]:
    # The socket of a run must have a short path.
    with network_of_its_own() as network, tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name) / "dockercoins-grpc"
        folder.mkdir()
        files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
        for given in {*MADE, *(file.partition("/")[0] for file in files)}:
            (folder / given).symlink_to(ROOT / given)
        environment = programs.environment(XDG_RUNTIME_DIR=name, LANG="C.UTF-8", HOME=name)
        with machine(alone=at_full_pace or network is None):
            yield lambda: Terminal([*(network or ()), "bash"], folder, environment)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("page", "kind"), LABS, ids=[f"{page.stem}-{kind}" for page, kind in LABS])
def test_a_lab_shows_what_its_text_says(page: Path, kind: str) -> None:
    if kind != LAPTOP:
        pytest.skip(f"needs {kind}")
    text = page.read_text()
    if "$ prometheus " in text:
        programs.find_program("prometheus", "prometheus")
    with laptop(at_full_pace="load-test" in text) as open_terminal:
        student = Student(open_terminal)
        try:
            for step in steps(text, kind):
                student.do(step)
            student.clean_up()
        finally:
            student.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_lab_has_all_parts_and_a_prediction_before_an_explanation(page: Path) -> None:
    text = page.read_text()
    assert re.findall("^## (.+)$", text, re.MULTILINE) == PARTS
    assert "**Predict" in text.partition("## Why")[0]
    assert f"({page.name})" in (page.parent / "README.md").read_text()
