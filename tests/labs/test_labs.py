"""The labs of docs/labs, and the tutorial, carried out as a student would, on all that they have blocks for."""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from support.compose_project import ROOT
from support.lab_machine import MACHINES
from support.lab_script import Picture, kinds, steps
from support.lab_terminal import Student

PAGES = sorted((ROOT / "docs" / "labs").glob("[0-9]*.md"))
TEXTS = [ROOT / "docs" / "tutorial.md", *PAGES]
# By machine, because labs on the same one may have to wait for each other.
LABS = {
    f"{page.stem}-{machine}": (page, machine)
    for machine in MACHINES
    for page in TEXTS
    if machine in kinds(page.read_text())
}

PARTS = [
    "What you will learn",
    "What you need",
    "What to do, and what you should see",
    "Why",
    "Clean up",
]

PICTURE_BYTES = 60 * 1024

# Of labs at the same time, on two cores. A lab mostly waits, and one of them waits until it is alone.
STUDENTS = 12


@pytest.fixture(scope="session")
def students(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Future[None]]]:
    """All labs that were chosen, done by threads, since each process of pytest would take seconds of CPU to start."""
    names = {item.callspec.id for item in request.session.items if isinstance(item, pytest.Function)}
    is_over = Event()
    with ThreadPoolExecutor(STUDENTS) as executor:
        yield {lab: executor.submit(_do, *LABS[lab], is_over) for lab in LABS if lab in names}
        is_over.set()
        executor.shutdown(cancel_futures=True)


def _do(page: Path, machine: str, is_over: Event) -> None:
    text = page.read_text()
    with MACHINES[machine](text) as open_terminal:
        student = Student(open_terminal)
        try:
            for step in steps(text, machine):
                if is_over.is_set():
                    return
                student.do(step)
            student.clean_up()
        finally:
            student.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("lab", LABS)
def test_a_lab_shows_what_its_text_says(lab: str, students: Mapping[str, Future[None]]) -> None:
    students[lab].result()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_lab_has_all_parts_and_a_prediction_before_an_explanation(page: Path) -> None:
    text = page.read_text()
    assert set(kinds(text)) <= set(MACHINES)
    assert re.findall("^## (.+)$", text, re.MULTILINE) == PARTS
    assert "**Predict" in text.partition("## Why")[0]
    assert f"({page.name})" in (page.parent / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_lab_has_a_small_picture_light_and_dark(page: Path) -> None:
    text = page.read_text()
    names = {each.name for machine in kinds(text) for each in steps(text, machine) if isinstance(each, Picture)}
    assert names
    pictures = {page.parent / "images" / f"{name}-{scheme}.png" for name in names for scheme in ("light", "dark")}
    assert set((page.parent / "images").glob(f"{page.stem[:2]}-*")) == pictures
    assert max(each.stat().st_size for each in pictures) <= PICTURE_BYTES
