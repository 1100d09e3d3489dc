import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from support.programs import environment, find_program, run

ROOT = Path(__file__).parents[2]
COMMON = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "chassis")
LIBRARY = "hasher_svc/libkernel.so"


def build(folder: Path, *paths: str, compiler: str) -> tuple[str, set[str], str]:
    """The wheel's name and files, and what the build said of the kernel."""
    for path in (*COMMON, *paths):
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, folder / path, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / path, folder / path)
    words = ("-m", "hatchling", "build", "--target", "wheel", "--directory", "wheel")
    done = run(sys.executable, *words, cwd=folder, env=environment(CC=compiler))
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
    return wheel.name, files, "\n".join(line for line in done.stderr.splitlines() if "kernel" in line)


def test_with_a_compiler_the_wheel_of_hasher_has_the_kernel_and_is_for_this_platform(tmp_path: Path) -> None:
    name, files, said = build(tmp_path, "hasher_svc", compiler=find_program("cc", "gcc and libc6-dev"))
    assert LIBRARY in files
    assert "hasher_svc/kernel.c" not in files
    assert "-py3-none-" in name
    assert "any" not in name
    assert not said


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_without_a_compiler_the_package_is_built_and_one_line_reports_it(tmp_path: Path, compiler: str) -> None:
    name, files, said = build(tmp_path, "hasher_svc", compiler=compiler)
    assert LIBRARY not in files
    assert "hasher_svc/service.py" in files
    assert name.endswith("-py3-none-any.whl")
    assert said.startswith(f"hasher will hash with hashlib, since {compiler} made no kernel: ")
    assert "\n" not in said


def test_the_wheel_of_another_service_needs_no_compiler_and_is_for_any_platform(tmp_path: Path) -> None:
    name, files, said = build(tmp_path, "rng_svc", "protos", compiler="no-such-compiler")
    assert "rng_svc/service.py" in files
    assert name.endswith("-py3-none-any.whl")
    assert not said
