"""Coverage-guided inputs for what decodes others' bytes; `FUZZ_SECONDS=600 make perf` tries more."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("fuzzing.py")
SECONDS = int(os.environ.get("FUZZ_SECONDS", "6"))

# Tens of thousands are usual.
MIN_RUNS = 1_000


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this machine")
@pytest.mark.timeout(60 + 2 * SECONDS)
@pytest.mark.parametrize("target", ["hash_packed", "reports", "keys"])
def test_no_input_that_reaches_new_code_breaks_anything(target: str, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name in {"HOME", "PATH", "LANG", "TMPDIR"}}
    done = subprocess.run(
        [sys.executable, PROGRAM, target, tmp_path, str(SECONDS)],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-4_000:]
    statistics = {name: int(value) for name, value in re.findall(r"stat::(\w+): *(\d+)", done.stderr)}
    assert statistics["number_of_executed_units"] >= MIN_RUNS
    assert statistics["new_units_added"] > 0, "it is not led by what it reaches"
