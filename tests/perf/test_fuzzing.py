"""Coverage-guided inputs for what decodes others' bytes; `FUZZ_SECONDS=600 make perf` tries more."""

import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest
from support.programs import environment, run

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("fuzzing.py")
SECONDS = int(os.environ.get("FUZZ_SECONDS", "6"))
LIMIT_S = 60 + 2 * SECONDS

# Tens of thousands are usual.
MIN_RUNS = 1_000


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this machine")
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("target", ["reports", "keys"])
def test_no_input_that_reaches_new_code_breaks_anything(target: str, tmp_path: Path) -> None:
    variables = environment(PYTHONPATH=f"{ROOT}:{ROOT / 'generated'}")
    done = run(sys.executable, PROGRAM, target, tmp_path, SECONDS, cwd=tmp_path, env=variables, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-4_000:]
    statistics = {name: int(value) for name, value in re.findall(r"stat::(\w+): *(\d+)", done.stderr)}
    assert statistics["number_of_executed_units"] >= MIN_RUNS
    assert statistics["new_units_added"] > 0, "it is not led by what it reaches"
