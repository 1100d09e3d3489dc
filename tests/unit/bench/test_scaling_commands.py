import re
import shlex
from pathlib import Path

import pytest

from bench.scaling.__main__ import PARTS, arguments

ROOT = Path(__file__).parents[3]

COMMANDS = [
    words
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for words in re.findall(r'make bench-scaling ARGS="([^"]*)"', page.read_text())
]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_of_the_documents_is_understood(words: str) -> None:
    assert set(arguments(shlex.split(words)).parts) <= PARTS.keys()


def test_the_documents_show_more_than_one() -> None:
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize("words", ["--parts pages", "--workers 0", "--seconds 1"])
def test_what_can_not_be_measured_is_refused(words: str) -> None:
    with pytest.raises(SystemExit):
        arguments(shlex.split(words))


def test_without_words_all_is_measured() -> None:
    assert list(arguments([]).parts) == list(PARTS)
