import io

import pytest

from local_run.output import MAX_LINE, Output, wants_colours


def test_names_are_padded_to_one_width() -> None:
    stream = io.BytesIO()
    output = Output(stream, ["rng-1", "worker-10"], colours=False)
    output.add("rng-1", b"one\n")
    output.add("worker-10", b"two\n")
    output.say("three")
    assert stream.getvalue() == b"rng-1     | one\nworker-10 | two\nrun       | three\n"


def test_parts_of_lines_do_not_mix() -> None:
    stream = io.BytesIO()
    output = Output(stream, ["a", "b"], colours=False)
    output.add("a", b"first ")
    output.add("b", b"other\nhalf")
    output.add("a", b"and last\n")
    assert stream.getvalue() == b"b   | other\na   | first and last\n"


def test_the_end_of_a_process_ends_its_line() -> None:
    stream = io.BytesIO()
    output = Output(stream, ["a"], colours=False)
    output.add("a", b"cut off")
    output.end("a")
    output.end("a")
    assert stream.getvalue() == b"a   | cut off\n"


def test_a_line_without_an_end_does_not_grow_for_ever() -> None:
    stream = io.BytesIO()
    output = Output(stream, ["a"], colours=False)
    output.add("a", b"x" * (MAX_LINE + 1))
    assert stream.getvalue() == b"a   | " + b"x" * (MAX_LINE + 1) + b"\n"


def test_neighbours_differ_in_colour() -> None:
    stream = io.BytesIO()
    output = Output(stream, ["a", "b"], colours=True)
    output.add("a", b"one\n")
    output.add("b", b"two\n")
    first, second = stream.getvalue().splitlines()
    assert first == b"\x1b[36ma   |\x1b[0m one"
    assert second == b"\x1b[33mb   |\x1b[0m two"


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colours_without_a_terminal_only_when_forced(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, wanted: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wants_colours(io.BytesIO()) is wanted
