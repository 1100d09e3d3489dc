import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.lab_script import steps
from support.lab_terminal import LabError, Student, Terminal, network_of_its_own
from support.programs import environment

Do = Callable[[str], None]

COUNTER = "import itertools, time\nfor i in itertools.count():\n    print(i, flush=True)\n    time.sleep(0.05)"
# As the live status of a run: two lines that are erased and written again.
STATUS = (
    "import time\nfor i in range(9):\n    print('\\x1b[2A\\r\\x1b[J' * (i > 0) + f'head\\n{i}')\n    time.sleep(0.1)"
)


@pytest.fixture
def student(tmp_path: Path) -> Iterator[Student]:
    (tmp_path / "counter.py").write_text(COUNTER)
    (tmp_path / "status.py").write_text(STATUS)
    made = Student(lambda: Terminal(["bash"], tmp_path, environment(PYTHON=sys.executable)))
    yield made
    made.close()


@pytest.fixture
def do(student: Student) -> Do:
    def do(text: str) -> None:
        for step in steps(f"```console\n{text}\n```\n", "laptop"):
            student.do(step)

    return do


def test_commands_of_one_terminal_share_a_shell_and_those_of_another_do_not(do: Do) -> None:
    do("$ here=5; cd /\n$ echo $here; pwd\n5\n/\n2$ echo _$here\n_\n$ cat <<END\n> one $here\n> END\none 5")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$ echo 11\n5 to 10", "echo 11\nshows\n  | 11\nand not\n  | 5 to 10"),
        ("$ echo one; echo two\none", "  | one\n  | two\nand not"),
        ("$ false && echo one\none", "shows\n\nand not\n  | one"),
        ("$ echo one", "  | one\nand not"),
        ("$ no_such_command", "command not found"),
        ("$ sleep 60   # within 1 second\nnever", "shows\n\nand not\n  | never"),
    ],
)
def test_what_is_shown_instead_of_the_expected_is_the_error(do: Do, text: str, shown: str) -> None:
    with pytest.raises(LabError) as error:
        do(text)
    assert shown in str(error.value)
    assert str(error.value).startswith("line 2: ")


def test_a_command_that_may_take_some_seconds_is_repeated_until_it_shows_what_is_expected(
    do: Do, tmp_path: Path
) -> None:
    do("$ (sleep 1; touch there) &\n...\n$ ls there   # within 10 seconds\nthere")
    began = time.monotonic()
    with pytest.raises(LabError):
        do("$ ls elsewhere   # within 2 seconds\nelsewhere")
    assert time.monotonic() - began > 2


def test_the_time_of_a_command_begins_when_the_one_before_has_ended(do: Do) -> None:
    do("$ sleep 3   # within 9 seconds\n...\n$ sleep 1; echo one   # within 2 seconds\none")


def test_a_command_may_go_on_until_it_is_interrupted(student: Student, do: Do) -> None:
    do("$ $PYTHON counter.py\n0\n1\n...\n2$ echo beside\nbeside")
    with pytest.raises(LabError, match=r"terminal 1 still runs .*counter\.py"):
        student.clean_up()
    do("$ Ctrl-C\n...\nKeyboardInterrupt\n$ echo after\nafter")
    student.clean_up()


def test_lines_that_are_erased_are_not_seen(do: Do) -> None:
    do("$ $PYTHON status.py\nhead\n8")
    do("$ $PYTHON status.py\nhead\n2 to 6\n...")


def test_a_network_of_its_own_has_loopback_and_all_ports() -> None:
    with network_of_its_own() as network:
        if network is None:
            pytest.skip("this system has no such networks")
        listen = "import socket as s; server = s.create_server(('', 80)); s.create_connection(server.getsockname())"
        subprocess.run([*network, sys.executable, "-c", listen], check=True)
