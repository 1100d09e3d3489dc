import re
import shlex
from pathlib import Path

import pytest

from bench.scaling.__main__ import PARTS, arguments

ROOT = Path(__file__).parents[3]


def test_every_command_of_the_documents_is_understood() -> None:
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    commands = [words for page in pages for words in re.findall(r'make bench-scaling ARGS="([^"]*)"', page.read_text())]
    assert len(commands) >= 3
    for words in commands:
        assert set(arguments(shlex.split(words)).parts) <= PARTS.keys()
    assert list(arguments([]).parts) == list(PARTS)


@pytest.mark.parametrize("words", ["--parts pages", "--workers 0", "--seconds 1"])
def test_what_can_not_be_measured_is_refused(words: str) -> None:
    with pytest.raises(SystemExit):
        arguments(shlex.split(words))
