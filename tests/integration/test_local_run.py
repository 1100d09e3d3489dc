"""What `make run` refuses before it starts anything."""

import os
import socket
import sys
from importlib import metadata
from pathlib import Path
from unittest.mock import Mock

import pytest
from support.free_port import free_port
from support.programs import environment, run

from chassis.process import EXIT_FAILURE, EXIT_SETTINGS
from chassis.settings import SettingsError
from local_run import control, embedded_redis
from local_run.__main__ import main
from local_run.programs import Port


def test_a_port_is_free_until_someone_listens_there() -> None:
    port = Port("127.0.0.1", free_port(), "SOME_PORT", "SOME_BIND_ADDRESS")
    for _ in range(2):
        assert port.problem() == ""
    with socket.create_server((port.address, port.number)):
        assert port.problem() == "is already in use"


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^SOME_BIND_ADDRESS='192\.0\.2\.1' is not allowed: it must be an address"):
        Port("192.0.2.1", free_port(), "SOME_PORT", "SOME_BIND_ADDRESS").problem()


@pytest.fixture(autouse=True)
def arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    words = ["dockercoins", "run"]
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    return words


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        ("PACE=fast", "PACE='fast' is not allowed: it must be classic or full\n"),
        ("BATCH_SIZE=abc", "worker-1: BATCH_SIZE='abc' is not allowed: it must be "),
        ("RNGS=99", "RNGS='99' is not allowed: it must be a whole number from 0 to 49 (processes)\n"),
        ("REDIS_URL=", "REDIS_URL='' is not allowed: it must be "),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data_dir: str, variable: str, line: str
) -> None:
    monkeypatch.setenv(*variable.split("="))
    assert main() == EXIT_SETTINGS
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1


def test_a_second_run_on_the_same_data_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], data_dir: str
) -> None:
    with embedded_redis.data_folder(data_dir):
        assert main() == EXIT_FAILURE
    said = f"{data_dir} is in use by another run; choose another folder with DATA_DIR=…\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("address", ["127.0.0.1", ""], ids=["loopback", "all addresses"])
def test_a_taken_port_ends_the_run_and_a_misspelled_variable_reaches_no_service(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data_dir: str, address: str
) -> None:
    monkeypatch.setenv("WORKER", "3")
    with socket.create_server((address, 0)) as listener:
        taken = listener.getsockname()[1]
        monkeypatch.setenv("RNG_PORT", str(taken))
        assert main() == EXIT_FAILURE
    assert capsys.readouterr().err.splitlines() == [
        "the variable WORKER is unknown; did you mean WORKERS?",
        f"rng-1: port {taken} is already in use; choose another with RNG_PORT=…",
    ]
    assert "WORKER" not in os.environ


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["run", "WORKRS=3"], "WORKRS=3 is not allowed: did you mean WORKERS=…?\n"),
        (["run", "PACE"], "PACE is not allowed: it must be NAME=VALUE, such as WORKERS=3\n"),
        (["run", "PACE=fast"], "PACE='fast' is not allowed: it must be classic or full\n"),
        (
            ["probe", "rng", "-c", "x"],
            "dockercoins probe: argument -c: 'x' is not allowed: it must be 1 to 100; see dockercoins probe --help\n",
        ),
        (["kill"], "dockercoins kill: the following arguments are required: REPLICA; see dockercoins kill --help\n"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
    error: str,
) -> None:
    arguments[1:] = words
    monkeypatch.setattr("os.environ", dict(os.environ))
    code: object = None
    try:
        code = main()
    except SystemExit as done:
        code = done.code
    assert (code, capsys.readouterr().err) == (EXIT_SETTINGS, error)


@pytest.mark.parametrize("words", [["status"], ["scale", "rng=3"], ["kill", "rng-2"]])
def test_without_a_run_each_command_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    words: list[str],
) -> None:
    (tmp_path / "runtime").mkdir()
    monkeypatch.setattr("local_run.control._MAX_FOLDER_LENGTH", 1_000)
    arguments[1:] = words
    assert main() == EXIT_FAILURE
    assert capsys.readouterr().err == "nothing is running here; start it with `dockercoins run`\n"
    folder = tmp_path / "runtime" / "dockercoins"
    folder.chmod(0o755)
    assert main() == EXIT_FAILURE
    assert capsys.readouterr().err == f"{folder} must be a folder that only you can open; remove it\n"


def test_a_run_that_is_stopping_ends_a_probe_with_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(control, "send", Mock(side_effect=control.CommandError("it is stopping")))
    arguments[1:] = ["probe", "rng"]
    assert main() == EXIT_SETTINGS
    assert capsys.readouterr().err == "it is stopping\n"


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_the_folder_of_a_run_whose_process_is_gone_is_removed(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    """Another user's process may have its id by now."""
    monkeypatch.setattr("local_run.control._MAX_FOLDER_LENGTH", 1_000)
    Path(os.environ["XDG_RUNTIME_DIR"]).mkdir()
    monkeypatch.setattr(os, "kill", Mock(side_effect=error))
    with control.run_folder() as folder:
        old = folder.with_name("1")
        old.mkdir()
    with control.run_folder():
        assert not old.exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(capsys: pytest.CaptureFixture[str], arguments: list[str], shell: str) -> None:
    arguments[1:] = ["completion", shell]
    assert main() == 0
    assert "dockercoins" in capsys.readouterr().out
    words = {
        "_ARGCOMPLETE": 1,
        "COMP_LINE": "dockercoins re",
        "COMP_POINT": 14,
        "_ARGCOMPLETE_STDOUT_FILENAME": "/dev/stdout",
    }
    done = run(sys.executable, "-m", "local_run", env=environment(**words))
    assert done.stdout.split() == ["resume"]


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    arguments[1:] = ["--version"]
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().out) == (0, f"dockercoins {metadata.version('dockercoins-grpc')}\n")
