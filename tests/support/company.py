"""Which tests run beside which: most wait rather than work, so that four at a time take a fourth of the time.

What holds a bound that a busy machine would break, or needs a known amount of CPU, is marked `pair` or `alone`, with
the reason: a whole file at its top, or the test. One that fails beside others is tried once more by itself, and only
then has failed: what it promises, it promises on a machine of its own.
"""

from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

KINDS = ("crowd", "pair", "alone")
"""The strictest last, which wins. Most tests are `crowd`, which is no marker."""


def kind(item: pytest.Item) -> str:
    return next((each for each in reversed(KINDS) if item.get_closest_marker(each)), "crowd")


class OneByOne(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Each test goes to whoever is free; only those of a file which share what it makes once stay together."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self._root = config.rootpath
        self._shares: dict[str, bool] = {}

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file not in self._shares:
            self._shares[file] = 'scope="module"' in Path(self._root, file).read_text()
        return file if self._shares[file] else nodeid
