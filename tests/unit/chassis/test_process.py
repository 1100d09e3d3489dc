import os
import pty
import subprocess
import sys

import pytest


@pytest.mark.parametrize("attempt", range(3))
def test_a_setting_that_is_not_allowed_is_reported_on_a_terminal(attempt: int) -> None:
    del attempt  # a line that is usually lost may be there once
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", 0) as terminal:
        with os.fdopen(follower, "wb", 0) as stream:
            command = [sys.executable, "-m", "rng_svc"]
            environment = {**os.environ, "PACE": "fast", "LOG_FORMAT": "console"}
            ended = subprocess.run(command, stderr=stream, env=environment, check=False, timeout=60)
            stream.write(b"END")
        text = b""
        while not text.endswith(b"END"):
            text += terminal.read(1_000)
    assert ended.returncode == 2
    assert text.startswith(b"rng: PACE='fast' is not allowed")
