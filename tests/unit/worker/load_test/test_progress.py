import io

from rich.console import Console
from unit.worker.load_test.made import measurement, point

from worker_svc.load_test.progress import Progress


def progress(*, terminal: bool) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=200)
    with Progress(console, 3, 10.0) as shown:
        shown.begin(point(1))
        shown.end(point(1), measurement(1_234))
        shown.begin(point(16))
        if terminal:
            console.print(shown._line())
    return text.getvalue()


def test_a_terminal_is_told_what_is_measured_and_the_time_left() -> None:
    assert "run 2 of 3, 0:00 left: stream, batch 16" in progress(terminal=True)


def test_elsewhere_each_run_is_a_line() -> None:
    lines = progress(terminal=False).splitlines()
    assert lines[0] == "3 runs, about 0:30"
    assert lines[1].startswith("1 of 3: stream, batch 1, window 8, message 32: 1,234 hashes/s, ")
