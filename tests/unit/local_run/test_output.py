import io

import pytest

from local_run.output import MAX_LINE, Output, wants_colours


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([("a", b"one\n"), ("b-10", b"two\n")], b"a    | one\nb-10 | two\n"),
        ([("a", b"first "), ("b-10", b"other\nhalf"), ("a", b"and last\n")], b"b-10 | other\na    | first and last\n"),
        ([("a", b"x" * (MAX_LINE + 1))], b"a    | " + b"x" * (MAX_LINE + 1) + b"\n"),
        ([("a", b"cut off"), ("a", None), ("a", None)], b"a    | cut off\n"),
    ],
    ids=["names have one width", "parts of lines do not mix", "no line grows for ever", "the end of a process ends it"],
)
def test_lines_are_whole_and_behind_names(said: list[tuple[str, bytes | None]], expected: bytes) -> None:
    stream = io.BytesIO()
    output = Output(stream, ["a", "b-10"], colours=False)
    for name, data in said:
        if data is None:
            output.end(name)
        else:
            output.add(name, data)
    assert stream.getvalue() == expected


def test_neighbours_differ_in_colour() -> None:
    stream = io.BytesIO()
    output = Output(stream, ["a", "b"], colours=True)
    output.add("a", b"one\n")
    output.add("b", b"two\n")
    assert stream.getvalue() == b"\x1b[36ma   |\x1b[0m one\n\x1b[33mb   |\x1b[0m two\n"


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colours_without_a_terminal_only_when_forced(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, wanted: bool
) -> None:
    monkeypatch.setattr("os.environ", variables)
    assert wants_colours(io.BytesIO()) is wanted
