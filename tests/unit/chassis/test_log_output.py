"""A log that can't be written, or that nothing reads, loses lines and nothing else."""

import errno
import os
import pty
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from chassis.log_output import MAX_WAITING_BYTES, LogOutput

LIMIT_S = 20.0


def lost(output: LogOutput) -> int:
    [metric] = output.collect()
    return int(metric.samples[0].value)


@contextmanager
def pipe(*, blocking: bool = True) -> Iterator[tuple[int, TextIO]]:
    """The end to read from, and a stream of the other one."""
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    with os.fdopen(reading, "rb", 0), os.fdopen(writing, "w") as stream:
        yield reading, stream


def read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := os.read(descriptor, size - len(data))):
        data += part
    return data


def test_lines_that_a_full_disk_cuts_or_refuses_are_counted_and_announced_once_there_is_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    room, write = [3], os.write

    def write_if_room(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr("os.write", write_if_room)
    with (tmp_path / "log").open("w") as stream:
        output = LogOutput(stream)
        output.on_recovery = lambda lines, cause: output.write(f"{lines} lost: {cause}\n")
        output.write("12345\n")
        output.write("lost\n")
        room[0] = 100
        output.write("whole\n")
        output.write("\udcff\n")
    assert (tmp_path / "log").read_text() == "123\nwhole\n2 lost: No space left on device\n\\udcff\n"
    assert lost(output) == 2


def test_a_reader_that_is_gone_or_never_was_costs_lines_alone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        output = LogOutput(stream)
        for _ in range(3):
            output.write("line\n")
    assert lost(output) == 3
    closed = LogOutput(None)
    closed.write("line\n")
    assert not closed.isatty()
    assert lost(closed) == 0


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_pauses_gets_every_line_later(blocking: bool) -> None:  # noqa: FBT001 - a parameter of the test
    lines = [*(f"{number:01000}\n" for number in range(200)), "x" * 300_000 + "\n", "next\n"]  # more than a pipe holds
    with pipe(blocking=blocking) as (reading, stream):
        output = LogOutput(stream)
        for line in lines:
            output.write(line)
        assert read(reading, len("".join(lines))).decode() == "".join(lines)
        output.close(LIMIT_S)
        assert lost(output) == 0


def test_a_reader_that_stopped_blocks_nothing_and_is_told_what_it_missed() -> None:
    with pipe() as (reading, stream):
        output = LogOutput(stream)
        announced = threading.Event()

        def announce(lines: int, cause: str) -> None:
            output.write(f"{lines} lost: {cause}\n")
            announced.set()

        output.on_recovery = announce
        line = "x" * 9_999 + "\n"
        for _ in range(2 * MAX_WAITING_BYTES // len(line)):
            output.write(line)
        missed = lost(output)
        began = time.monotonic()
        output.close(0.01)
        assert time.monotonic() - began < LIMIT_S
        assert missed > 0
        read(reading, (2 * MAX_WAITING_BYTES // len(line) - missed) * len(line))
        assert announced.wait(LIMIT_S)
        assert os.read(reading, 1_000).decode() == f"{missed} lost: nothing reads them\n"


def test_a_terminal_that_takes_nothing_blocks_nothing() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", 0), os.fdopen(follower, "w") as stream:
        output = LogOutput(stream)

        def write() -> None:
            for _ in range(500):
                output.write("x" * 999 + "\n")

        writing = threading.Thread(target=write, daemon=True)
        writing.start()
        writing.join(LIMIT_S)
        assert not writing.is_alive()
        # Otherwise its thread writes to what next has the descriptor's number.
        read(leader, 500 * 1_001)
        output.close(LIMIT_S)
