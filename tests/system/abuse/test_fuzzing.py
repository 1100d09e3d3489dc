"""Coverage-guided inputs for what decodes others' bytes, and the kernel under sanitizers; FUZZ_SECONDS: longer."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.pair(reason="how many inputs are tried depends on the CPU there is, and each needs a core")

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("fuzzing.py")
SECONDS = int(os.environ.get("FUZZ_SECONDS", "6"))
CI = bool(os.environ.get("CI"))

LEAST_RUNS = 1_000
"""Inputs in those seconds; tens of thousands are usual."""


def unavailable(what: str, how: str) -> None:
    """Skip, or fail where nothing is to be missing."""
    (pytest.fail if CI else pytest.skip)(f"no {what}: {how}")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in {"HOME", "PATH", "LANG", "TMPDIR"}}
    return {**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}", **more}


@pytest.mark.timeout(60 + 2 * SECONDS)
@pytest.mark.parametrize("target", ["hash_packed", "packed_field", "reports", "keys"])
def test_no_input_that_reaches_new_code_breaks_anything(target: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        if sys.platform == "linux" and sys.version_info < (3, 14):
            unavailable("atheris", "make .venv/.dev installs it")
        pytest.skip("atheris has no wheel for this platform and version of Python")
    done = subprocess.run(
        [sys.executable, PROGRAM, target, tmp_path, str(SECONDS)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-4_000:]
    statistics = {name: int(value) for name, value in re.findall(r"stat::(\w+): *(\d+)", done.stderr)}
    assert statistics["number_of_executed_units"] >= LEAST_RUNS
    assert statistics["new_units_added"] > 0, "it is not led by what it reaches"


SANITIZED = """
import ctypes, hashlib, random, sys
from hasher_svc import kernel
from pathlib import Path
kernel.LIBRARY = Path(sys.argv[1])
digests = kernel.load()
chance = random.Random(int(sys.argv[2]))
for _ in range(3_000):
    size, start = chance.randint(1, 300), chance.randint(0, 80)
    data = chance.randbytes(start + size * chance.randint(0, 40) + chance.randint(0, size - 1))
    count = (len(data) - start) // size
    pieces = [data[start + size * each :][:size] for each in range(count)]
    assert digests(data, size, start) == b"".join(hashlib.sha256(piece).digest() for piece in pieces)
print("done")
"""


RIGHT, WRONG = "while (count--)", "count += 9; while (count--)"


@pytest.mark.parametrize("within", [True, False], ids=["as it is", "one that does not"])
def test_the_kernel_stays_within_its_memory(tmp_path: Path, *, within: bool) -> None:
    """Under AddressSanitizer, with all of Python's memory from malloc() so that each buffer has guarded ends."""
    compiler = shutil.which("gcc")
    if compiler is None:
        unavailable("gcc", "apt-get install gcc")
    library, source = tmp_path / "libkernel.so", tmp_path / "kernel.c"
    text = (ROOT / "hasher_svc" / "kernel.c").read_text()
    assert RIGHT in text
    source.write_text(text if within else text.replace(RIGHT, WRONG))
    flags = ["-O1", "-g", "-fPIC", "-shared", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([str(compiler), *flags, "-o", library, source], check=True)
    runtime = subprocess.run(
        [str(compiler), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    seed = os.urandom(4)
    done = subprocess.run(
        [sys.executable, "-c", SANITIZED, library, str(int.from_bytes(seed))],
        env=environment(
            LD_PRELOAD=runtime, PYTHONMALLOC="malloc", ASAN_OPTIONS="detect_leaks=0:verify_asan_link_order=0"
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    if not within:
        assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
        return
    assert (done.returncode, done.stdout) == (0, "done\n"), f"seed {int.from_bytes(seed)}: {done.stderr[-4_000:]}"
