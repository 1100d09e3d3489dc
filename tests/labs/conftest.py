from itertools import zip_longest

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put a short test behind each lab: xdist hands tests out in twos, and the second of two labs would wait."""
    labs = [item for item in items if "a_lab_shows" in item.name]
    short = [item for item in items if item not in labs]
    items[:] = [item for pair in zip_longest(labs, short) for item in pair if item is not None]
