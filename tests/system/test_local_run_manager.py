"""The manager with tiny programs in the place of services."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import psutil
import pytest
from support.waiting import wait_until

from local_run.output import MAX_LINE_BYTES

TINY = """
import asyncio, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
from chassis.log import LogOutput
from local_run.manager import Manager
from local_run.output import MAX_LINE_BYTES, Output
from local_run.programs import Program, Stage

def python(name, code, **environment):
    return Program(name, Stage.SERVERS, (sys.executable, "-c", code), environment)

def run(*programs):
    async def main():
        return await Manager(Output(LogOutput(1), [each.name for each in programs], colours=False)).run(programs)
    sys.exit(asyncio.run(main()))

STAYS = "import time; print('here', flush=True); time.sleep(60)"
"""


# For the time from a signal to the end: what the issue promises, and what loaded machines take on top.
STOP_LIMIT_S = 1.5 + 3


@contextmanager
def tiny(code: str, stdout: int = subprocess.PIPE, before: str = "") -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", dedent(TINY) + before + dedent(code)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as popen:
        try:
            yield popen
        finally:
            popen.terminate()


def result(code: str) -> tuple[int, str]:
    with tiny(code) as popen:
        output, _ = popen.communicate(timeout=20)
        return popen.returncode, output


def first_lines(popen: subprocess.Popen[str], count: int) -> list[str]:
    assert popen.stdout is not None
    return [popen.stdout.readline() for _ in range(count)]


def test_a_program_gets_its_environment_and_its_output_is_shown_and_a_refused_setting_stops_everything() -> None:
    code, output = result("""
        says = (
            "import os, sys; print(os.environ['GIVEN']); print('error', file=sys.stderr); "
            "print(sys.stdin.read(0) == '' and os.getpgrp() == os.getpid()); print('no end', end=''); exit(2)"
        )
        run(python('a', says, GIVEN='with % and "quotes"'), python('b', STAYS))
    """)
    assert code == 2
    lines = [line for line in output.splitlines() if not line.startswith("b ")]
    assert set(lines[:4]) == {'a   | with % and "quotes"', "a   | error", "a   | True", "a   | no end"}
    assert lines[4] == "run | a refused a setting; everything stops"


def test_no_line_grows_for_ever() -> None:
    code, output = result(f"run(python('a', \"print('x' * {5 * MAX_LINE_BYTES}); exit(2)\"))")
    assert code == 2
    parts = [line.count("x") for line in output.splitlines() if "x" in line]
    assert sum(parts) == 5 * MAX_LINE_BYTES
    assert max(parts) <= 2 * MAX_LINE_BYTES


def test_a_program_that_ends_soon_is_tried_again_after_a_growing_pause() -> None:
    with tiny("run(python('a', 'raise SystemExit(1)'))") as popen:
        first, second = first_lines(popen, 2)
        popen.terminate()
        assert popen.wait(20) == 0
    assert re.search(r"run \| a ended with exit code 1 after [01]\.\d s; another try in 1 s\n$", first)
    assert second.endswith("another try in 2 s\n")


def test_a_program_that_never_starts_ends_the_run() -> None:
    code, output = result("""
        import local_run.manager
        local_run.manager.START_RETRIES = 1
        run(python('a', STAYS), Program('b', Stage.SERVERS, ('/nowhere/b',)))
    """)
    assert code == 1
    assert output.count("run | b can't be started: [Errno 2] No such file or directory: '/nowhere/b'\n") == 2
    assert "run | b did not start in 2 attempts; everything stops\n" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_any_signal_to_stop_stops_everything(number: signal.Signals) -> None:
    with tiny("run(python('a', STAYS), python('b', STAYS))") as popen:
        assert set(first_lines(popen, 2)) == {"a   | here\n", "b   | here\n"}
        popen.send_signal(number)
        assert popen.wait(20) == 0


def test_a_program_that_does_not_stop_is_killed_and_one_that_fails_while_stopping_is_reported() -> None:
    with tiny("""
        deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAYS
        fails = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit(1)); " + STAYS
        run(python('a', deaf), python('b', fails))
    """) as popen:
        first_lines(popen, 2)
        popen.terminate()
        output, _ = popen.communicate(timeout=20)
        assert popen.returncode == 1
    assert "run | a did not stop within 3.5 s and is killed\n" in output
    assert "run | b ended with exit code 1\n" in output
    assert output.endswith("run | all stopped, not all of it cleanly\n")


def test_a_reader_that_goes_away_stops_everything() -> None:
    with tiny("""
        talks = "import time\\nwhile True: print('line', flush=True); time.sleep(0.05)"
        run(python('a', talks), python('b', STAYS))
    """) as popen:
        first_lines(popen, 1)
        assert popen.stdout is not None
        popen.stdout.close()
        assert popen.wait(20) == 0


def test_a_killed_run_leaves_no_process() -> None:
    with tiny("""
        run(python('a', "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAYS), python('b', STAYS))
    """) as popen:
        first_lines(popen, 2)
        children = psutil.Process(popen.pid).children(recursive=True)
        frozen = next(each for each in children if "SIG_IGN" in each.cmdline()[-1])
        frozen.suspend()
        popen.kill()
        assert len(children) == 3
        assert not psutil.wait_procs(children, timeout=STOP_LIMIT_S)[1]


def test_signals_work_while_nothing_reads_the_output_and_the_second_one_kills() -> None:
    with tiny("""
        talks = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\\nwhile True: print('line' * 1000)"
        run(python('a', talks), python('b', STAYS))
    """) as popen:
        first_lines(popen, 1)
        time.sleep(1)
        for _ in range(3):  # as `timeout` does, and others that pass a signal on
            popen.terminate()
            time.sleep(0.05)
        with pytest.raises(subprocess.TimeoutExpired):
            popen.wait(1)
        popen.terminate()
        assert popen.wait(STOP_LIMIT_S) == 1


def test_a_frozen_process_is_stopped_like_any_other() -> None:
    with tiny("run(python('a', STAYS), python('b', STAYS))") as popen:
        first_lines(popen, 2)
        next(each for each in psutil.Process(popen.pid).children() if "here" in each.cmdline()[-1]).suspend()
        began = time.monotonic()
        popen.terminate()
        output, _ = popen.communicate(timeout=20)
        assert time.monotonic() - began < STOP_LIMIT_S
        assert popen.returncode == 0
    assert "killed" not in output


@pytest.fixture
def closed_terminal() -> Iterator[int]:
    terminal, closed = pty.openpty()
    os.close(terminal)
    yield closed
    os.close(closed)


def test_a_closed_terminal_stops_everything_also_without_its_signal(closed_terminal: int) -> None:
    with tiny("run(python('a', STAYS))", closed_terminal) as popen:
        assert popen.wait(STOP_LIMIT_S) == 0


def test_nohup_a_full_disk_and_a_closed_terminal_stop_nothing(closed_terminal: int) -> None:
    with Path("/dev/full").open("wb") as full:
        for stdout in (full.fileno(), closed_terminal):
            with tiny("run(python('a', STAYS))", stdout, "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n") as popen:
                run = psutil.Process(popen.pid)
                wait_until(run.children)
                time.sleep(0.5)
                popen.send_signal(signal.SIGHUP)
                with pytest.raises(subprocess.TimeoutExpired):
                    popen.wait(1)
                popen.terminate()
                assert popen.wait(STOP_LIMIT_S) == 0


def test_an_unforeseen_failure_leaves_nothing_running() -> None:
    # The pipe's end comes when the last process that can write to it is gone.
    code, output = result("""
        Output.add = lambda *_: 1 / 0
        run(python('a', STAYS))
    """)
    assert code == 1
    assert "ZeroDivisionError" in output
