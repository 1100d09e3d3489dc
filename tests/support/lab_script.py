"""What a lab's text tells a student to type, and what it says that they see: read from Markdown, and compared.

docs/labs/README.md describes the notation for students.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

from markdown_it import MarkdownIt

# What a block is for if its first line names nothing.
LAPTOP = "laptop"

# In which a command that names no time must show what is expected.
LIMIT_S = 30.0

CTRL_C = "Ctrl-C"

# Any lines on a line of its own, any text within one.
ANYTHING = "..."

_PROMPT = re.compile(r"([1-9])?\$ (.+)")
_CONTINUED = "> "
_WITHIN = re.compile(r" +# within ([0-9]+) seconds?$")
_PICTURE = re.compile(r'<picture data-view="(\S*)" data-part="(.+?)">.*?src="images/([\w-]+)-light\.png"', re.DOTALL)

_NUMBER = r"-?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?"
_SPECIAL = re.compile(rf"(?P<least>{_NUMBER}) to (?P<most>{_NUMBER})|(?P<name>\b[MN]\b)|(?P<any>\.\.\.)|(?P<space> +)")
# A number, not a part of one.
_WHOLE_NUMBER = rf"(?<![0-9.,])({_NUMBER})(?![0-9]|[.,][0-9])"

Names = frozenset[tuple[str, str]]


@dataclass
class Step:
    """A command, the terminal for it, and the lines that are seen then."""

    line: int
    terminal: int
    command: str
    within_s: float | None = None
    expected: list[str] = field(default_factory=list)

    @property
    def limit_s(self) -> float:
        """The time in which the lines are seen."""
        return LIMIT_S if self.within_s is None else self.within_s

    @property
    def is_open(self) -> bool:
        """Whether the command may go on after the last expected line."""
        return self.expected[-1:] == [ANYTHING]


@dataclass(frozen=True)
class Look:
    """The lines that are seen on the page in this order, among others, in a view: the part of its address after `#`."""

    line: int
    view: str
    expected: list[str]


@dataclass(frozen=True)
class Picture:
    """The name of a picture of the page, at this moment: the view, and the CSS selectors of the parts to be seen."""

    line: int
    view: str
    parts: str
    name: str


def kinds(text: str) -> list[str]:
    """Return what the blocks of a lab are for, each once, in the order of the text."""
    return list(dict.fromkeys("".join(words[1:]) or LAPTOP for _, words, _ in _blocks(text) if words[0] == "console"))


def steps(text: str, kind: str) -> Iterator[Step | Look | Picture]:
    """Yield what is done in the blocks for this kind of machine, and what is then seen of the page.

    Raises ValueError for a block that does not begin with a command.
    """
    current = ""
    for line, words, content in _blocks(text):
        if words[0] == "console":
            current = "".join(words[1:]) or LAPTOP
        if current != kind:
            continue
        if words[0] == "console":
            yield from _steps(line, content)
        elif words[0] == "page":
            yield Look(line, "".join(words[1:]), content.splitlines())
        elif picture := _PICTURE.search(content):
            yield Picture(line, *picture.groups())


def _blocks(text: str) -> Iterator[tuple[int, list[str], str]]:
    """Yield the first line of each block, what it is, and its content."""
    for token in MarkdownIt().parse(text):
        words = token.info.split()
        line = token.map[0] + 1 if token.map else 0
        if token.type == "fence" and words and words[0] in {"console", "page"}:
            yield line + 1, words, token.content
        elif token.type == "html_block":
            yield line, ["picture"], token.content


def _steps(first_line: int, content: str) -> Iterator[Step]:
    step: Step | None = None
    for line, words in enumerate(content.splitlines(), first_line):
        if prompt := _PROMPT.fullmatch(words):
            if step:
                yield step
            step = Step(line, int(prompt[1] or 1), prompt[2])
        elif step is None:
            raise ValueError(f"line {line} has no prompt: {words}")
        elif words.startswith(_CONTINUED) and not step.expected:
            step.command += "\n" + words.removeprefix(_CONTINUED)
        else:
            step.expected.append(words)
        if not step.expected and (within := _WITHIN.search(step.command)):
            step.within_s = float(within[1])
            step.command = step.command[: within.start()]
    if step:
        yield step


def matches(expected: Sequence[str], shown: Sequence[str], names: Names = frozenset()) -> Names | None:
    """Return the numbers that N and M stand for, if the shown lines are the expected ones, otherwise None.

    With `...` as the last line, more may follow. Empty lines at the end do not matter: shells write one after Ctrl-C.
    """
    while shown and not shown[-1].strip():
        shown = shown[:-1]
    states = {(0, names)}
    for line in expected:
        if line.strip() == ANYTHING:
            states = {(at, known) for first, known in states for at in range(first, len(shown) + 1)}
        else:
            found = ((at + 1, _match(line, shown[at], known)) for at, known in states if at < len(shown))
            states = {(at, known) for at, known in found if known is not None}
    return next((known for at, known in states if at == len(shown)), None)


def _match(expected: str, shown: str, names: Names) -> Names | None:
    """Compare one line; any number of spaces is like another."""
    pattern, bounds = _pattern(expected.strip())
    found = re.fullmatch(pattern, shown.strip())
    if found is None:
        return None
    known = dict(names)
    for text, (least, most, name) in zip(found.groups(), bounds, strict=True):
        if name and known.setdefault(name, text) != text:
            return None
        if not name and not least <= _value(text) <= most:
            return None
    return frozenset(known.items())


def _pattern(expected: str) -> tuple[str, list[tuple[float, float, str]]]:
    """Return a regular expression with a group for each number, and the bounds or the name of each."""
    parts: list[str] = []
    bounds: list[tuple[float, float, str]] = []
    specials = list(_SPECIAL.finditer(expected))
    ends = chain([0], *(special.span() for special in specials), [len(expected)])
    literals = [expected[begin:end] for begin, end in pairwise(ends)][::2]
    for literal, special in zip(literals, [*specials, None], strict=True):
        parts.append(re.escape(literal))
        if special is None:
            break
        if special["any"]:
            parts.append(".*")
        elif special["space"]:
            parts.append(" +")
        else:
            parts.append(_WHOLE_NUMBER)
            name = special["name"] or ""
            bounds.append((0, 0, name) if name else (_value(special["least"]), _value(special["most"]), ""))
    return "".join(parts), bounds


def _value(text: str) -> float:
    return float(text.replace(",", ""))


def numbers(lines: Iterable[str]) -> set[str]:
    """Return the numbers in some lines."""
    return set(re.findall(_WHOLE_NUMBER, "\n".join(lines)))
