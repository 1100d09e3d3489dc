import os

import pytest

from hasher_svc.hashing import FALLBACK, Hashing, kernel_hashing
from hasher_svc.kernel import KernelError


@pytest.fixture(scope="session")
def by_kernel() -> Hashing:
    try:
        return kernel_hashing()
    except KernelError as error:
        if "CI" in os.environ:
            pytest.fail(f"no kernel: {error}")
        pytest.skip(f"no kernel: {error}; install a C compiler, then make -W hatch_build.py protos")


@pytest.fixture(scope="session", params=["kernel", "hashlib"])
def hashing(request: pytest.FixtureRequest) -> Hashing:
    """Each way of hashing."""
    if request.param == "hashlib":
        return FALLBACK
    found: Hashing = request.getfixturevalue("by_kernel")
    return found
