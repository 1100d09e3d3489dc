import os
import socket
from pathlib import Path

import pytest

from chassis.process import EXIT_FAILURE
from local_run.__main__ import main


def test_a_variable_that_was_meant_to_be_another_is_one_line_and_reaches_no_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("WORKER", "3")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("RNG_PORT", str(taken.getsockname()[1]))
        assert main() == EXIT_FAILURE
    first, second = capsys.readouterr().err.splitlines()
    assert first == "the variable WORKER is unknown; did you mean WORKERS?"
    assert "RNG_PORT" in second
    assert "WORKER" not in os.environ
