import os
import shutil

import pytest


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        reason = f"there is no {name}; on Debian and Ubuntu, install prometheus"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def promtool() -> str:
    return _program("promtool")


@pytest.fixture(scope="session")
def prometheus() -> str:
    return _program("prometheus")
