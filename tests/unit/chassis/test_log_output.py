import errno
import os
import pty
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis.log_output import MAX_WAITING_BYTES, LogOutput

LIMIT_S = 20.0


def lost(output: LogOutput) -> int:
    [metric] = output.collect()
    return int(metric.samples[0].value)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The end to read from, and the other one."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


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
    gone, never = LogOutput(writing), LogOutput(None)
    for output in (gone, never):
        output.write("line\n")
        output.write("line\n")
    os.close(writing)
    assert (lost(gone), lost(never), never.isatty()) == (2, 0, False)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_that_pauses_gets_every_line_later(
    pipe: tuple[int, int],
    blocking: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    reading, writing = pipe
    os.set_blocking(writing, blocking)
    lines = [*(f"{number:01000}\n" for number in range(200)), "x" * 300_000 + "\n", "next\n"]  # more than a pipe holds
    output = LogOutput(writing)
    for line in lines:
        output.write(line)
    assert read(reading, len("".join(lines))).decode() == "".join(lines)
    output.close(LIMIT_S)
    assert lost(output) == 0


def test_a_reader_that_stopped_blocks_nothing_and_is_told_what_it_missed(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = LogOutput(writing)
    output.on_recovery = lambda lines, cause: output.write(f"{lines} lost: {cause}\n")
    line = "x" * 9_999 + "\n"
    count = 2 * MAX_WAITING_BYTES // len(line)
    for _ in range(count):
        output.write(line)
    missed = lost(output)
    began = time.monotonic()
    output.close(0.01)
    assert time.monotonic() - began < LIMIT_S
    assert missed > 0
    read(reading, (count - missed) * len(line))
    output.close(LIMIT_S)
    assert os.read(reading, 1_000).decode() == f"{missed} lost: nothing reads them\n"


def test_a_terminal_that_takes_nothing_blocks_nothing() -> None:
    leader, follower = pty.openpty()
    output = LogOutput(follower)

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
    os.close(leader)
    os.close(follower)
