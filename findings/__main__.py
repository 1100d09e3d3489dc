"""Runs every finding, one after the other, and prints whether each still holds."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S = 180
RESULTS = {0: "holds", 1: "CHANGED", 2: "not run here"}


def main() -> int:
    """Run those whose names contain an argument, or all; return 1 unless all that could be run hold."""
    here = Path(__file__).parent
    scripts = sorted(path for path in here.iterdir() if os.access(path, os.X_OK) and path.is_file())
    names = sys.argv[1:]
    codes = [_run(path) for path in scripts if not names or any(name in path.name for name in names)]
    return int(any(code not in (0, 2) for code in codes))


def _run(path: Path) -> int:
    began = time.monotonic()
    # Whatever a script leaves, even when it is killed, goes with this folder.
    with tempfile.TemporaryDirectory(prefix="findings-") as folder:
        process = subprocess.Popen(
            [path],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": folder, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=LIMIT_S)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            code = 3
    result = RESULTS.get(code, f"longer than {LIMIT_S} s")
    print(f"{result:13} {time.monotonic() - began:4.0f} s  {path.name}", flush=True)
    if code not in (0, 2):
        print(output)
    return code


if __name__ == "__main__":
    sys.exit(main())
