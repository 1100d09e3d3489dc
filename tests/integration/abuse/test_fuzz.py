"""Coverage-guided fuzzing; for longer than here: PYTHONPATH=tests .venv/bin/python -m integration.abuse.fuzz."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

from hasher_svc import kernel
from hatch_build import KERNEL, compile_kernel

TESTS = Path(__file__).parents[2]
SECONDS = 10
LEAST_RUNS = 1_000

TARGETS = ("kernel", "reports", "packed")
SANITIZED = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined"


def missing(what: str) -> NoReturn:
    if "CI" in os.environ:
        pytest.fail(what)
    pytest.skip(what)


def environment(**more: str) -> dict[str, str]:
    """Without coverage, which looks on by the same means as the fuzzer."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return {**kept, "PYTHONPATH": str(TESTS), **more}


@pytest.fixture(scope="module")
def fuzzers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """All at once."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("atheris is for Linux on x86-64 alone")
    if find_spec("atheris") is None:
        missing("no atheris: make test installs it for Python 3.11 to 3.13")
    folder = tmp_path_factory.mktemp("fuzzed")
    with ExitStack() as stack:
        started = {}
        for target in TARGETS:
            command = [sys.executable, "-m", "integration.abuse.fuzz", target, str(folder), str(SECONDS)]
            started[target] = stack.enter_context(
                subprocess.Popen(
                    command,
                    env=environment(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(started[target].kill)
        yield started


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_that_decodes_wrongly(fuzzers: dict[str, "subprocess.Popen[str]"], target: str) -> None:
    if target == "kernel" and not kernel.LIBRARY.exists():
        missing("no kernel: install a C compiler, then make -W hatch_build.py protos")
    _, said = fuzzers[target].communicate(timeout=SECONDS + 60)
    assert fuzzers[target].returncode == 0, said[-8_000:]
    runs = re.search(r"Done (\d+) runs", said)
    assert runs is not None, said[-8_000:]
    assert int(runs[1]) >= LEAST_RUNS


@pytest.fixture(scope="module")
def asan() -> str:
    """The library that must be there first."""
    compiler = shutil.which("cc") or ""
    if not compiler or sys.platform != "linux":
        missing("no address sanitizer: it takes Linux and a C compiler with it, such as gcc")
    found = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    path = str(found.stdout).strip()
    if not Path(path).is_absolute():
        missing("no address sanitizer: install gcc's libasan")
    return path


def hashed(library: Path, folder: Path, asan: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "integration.abuse.sanitized", str(library), str(folder)],
        env=environment(
            LD_PRELOAD=asan,
            ASAN_OPTIONS="detect_leaks=0",  # Python's own
            PYTHONMALLOC="malloc",  # so that each object has bounds of its own
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def sanitized(folder: Path, text: str) -> Path:
    (folder / "kernel.c").write_text(text)
    assert compile_kernel(folder / "kernel.c", folder / "libkernel.so")
    return folder / "libkernel.so"


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All ways to pad a message; and a compiler's options."""
    monkeypatch.setenv("CC", f"cc {SANITIZED}")
    folder = tmp_path / "corpus"
    folder.mkdir()
    for length in (0, 1, 31, 32, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 4_095):
        (folder / str(length)).write_bytes(os.urandom(length))
    return folder


def test_the_kernel_touches_no_memory_but_its_own(tmp_path: Path, corpus: Path, asan: str) -> None:
    process = hashed(sanitized(tmp_path, KERNEL.read_text()), corpus, asan)
    assert process.returncode == 0, process.stderr[-4_000:]


def test_a_kernel_that_would_is_found_out(tmp_path: Path, corpus: Path, asan: str) -> None:
    right, wrong = "while (count--)", "count += 9; while (count--)"
    text = KERNEL.read_text()
    assert right in text
    process = hashed(sanitized(tmp_path, text.replace(right, wrong)), corpus, asan)
    assert process.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in process.stderr, process.stderr[-4_000:]
