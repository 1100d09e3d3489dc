"""Programs that tests run to their end, and what becomes of a test when one is missing."""

import os
import re
import shutil
import subprocess
from typing import Any, NoReturn

import pytest

# Variables that a program under test inherits; PACE, for example, is none of them.
KEPT = re.compile(r"HOME|PATH|PYTHONPATH|LANG|TZ|TMPDIR|SSL_CERT_FILE|(XDG|DOCKER|BUILDX)_.*")


def environment(**variables: object) -> dict[str, str]:
    """Return what a program under test inherits, and these variables."""
    kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
    return kept | {name: str(value) for name, value in variables.items()}


def run(*words: object, timeout: float = 100, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, whatever its exit code, and keep what it prints."""
    return subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=timeout, check=False, **options)


def find_program(name: str, package: str) -> str:
    """Return the path of a program of this machine; without it, the test ends."""
    return shutil.which(name) or skip_or_fail(f"there is no {name}; on Debian and Ubuntu, install {package}")


def skip_or_fail(reason: str) -> NoReturn:
    """End a test that lacks something: a failure in CI, a skip elsewhere."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
