"""What docs/operations.md says of metrics and alerts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


@dataclass(frozen=True)
class Described:
    """A row of a table of metrics."""

    name: str
    type: str
    labels: frozenset[str]
    services: tuple[str, ...]


def described() -> list[Described]:
    """All rows of all tables of metrics, each under a heading that says whose they are."""
    _, _, chapter = TEXT.partition("\n## Metrics\n")
    return [row for section in chapter.partition("\n## ")[0].split("\n### ")[1:] for row in _rows(section)]


def _rows(section: str) -> Iterator[Described]:
    heading, _, text = section.partition("\n")
    services = ("rng", "hasher", "worker", "webui") if heading == "every service" else tuple(heading.split(" and "))
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| ((?:`\w+` ?)*)\|", text, re.MULTILINE):
        yield Described(name, kind, frozenset(re.findall(r"\w+", labels)), services)


def alerts() -> set[str]:
    """Those in the table."""
    return set(re.findall(r"^\| `(DockerCoins\w+)` \|", TEXT, re.MULTILINE))


def recorded() -> set[str]:
    """Recorded series that are spoken of."""
    return set(re.findall(r"\bdockercoins:[\w:]+", TEXT))


def spoken_of() -> set[str]:
    """Series of ours that are spoken of, anywhere on the page."""
    return set(re.findall(r"\b(?:dockercoins|grpc_(?:server|client))_\w+", TEXT))
