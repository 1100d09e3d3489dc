"""The wheel that a service is installed from, built from a copy of the sources."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMON = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "chassis")
LIBRARY = "hasher_svc/libkernel.so"


@dataclass(frozen=True)
class Wheel:
    name: str
    files: set[str]
    metadata: str
    said: str
    """What the build said about the kernel."""


@pytest.fixture
def compiler() -> None:
    if shutil.which("cc") is None:
        if "CI" in os.environ:
            pytest.fail("there is no C compiler")
        pytest.skip("there is no C compiler; on Debian and Ubuntu, install gcc and libc6-dev")


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Wheel]:
    def built(*paths: str, compiler: str = "cc") -> Wheel:
        for path in (*COMMON, *paths):
            if (ROOT / path).is_dir():
                shutil.copytree(ROOT / path, tmp_path / path, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy(ROOT / path, tmp_path / path)
        done = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "wheel"],
            cwd=tmp_path,
            env={**os.environ, "CC": compiler},
            capture_output=True,
            text=True,
            check=True,
        )
        (wheel,) = (tmp_path / "wheel").iterdir()
        with zipfile.ZipFile(wheel) as archive:
            files = archive.namelist()
            (metadata,) = (archive.read(name).decode() for name in files if name.endswith("/WHEEL"))
        said = [line for line in done.stderr.splitlines() if "kernel" in line]
        return Wheel(wheel.name, set(files), metadata, "\n".join(said))

    return built


@pytest.mark.usefixtures("compiler")
def test_with_a_compiler_the_wheel_of_hasher_has_the_kernel_and_is_for_this_platform(
    build: Callable[..., Wheel],
) -> None:
    wheel = build("hasher_svc")
    assert LIBRARY in wheel.files
    assert "hasher_svc/kernel.c" not in wheel.files
    assert "-py3-none-" in wheel.name
    assert "any" not in wheel.name
    assert "Root-Is-Purelib: false" in wheel.metadata
    assert not wheel.said


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_one_it_is_built_all_the_same_and_says_so_in_one_line(
    build: Callable[..., Wheel], compiler: str
) -> None:
    wheel = build("hasher_svc", compiler=compiler)
    assert LIBRARY not in wheel.files
    assert "hasher_svc/service.py" in wheel.files
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "Root-Is-Purelib: true" in wheel.metadata
    assert wheel.said.startswith(f"hasher will hash with hashlib, since {compiler} made no kernel: ")
    assert "\n" not in wheel.said


def test_the_wheel_of_another_service_needs_no_compiler_and_is_for_any_platform(build: Callable[..., Wheel]) -> None:
    wheel = build("rng_svc", "protos", compiler="no-such-compiler")
    assert "rng_svc/service.py" in wheel.files
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not wheel.said
