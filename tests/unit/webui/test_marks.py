import pytest
from support.reports import make_report

from webui_svc.marks import KEPT, MOST, Attendance, BatchSizes, Mark, Marks, Waits

BASE = 1_700_000_000


@pytest.fixture
def marks() -> Marks:
    return Marks()


def told(marks: Marks) -> list[tuple[float, str, str]]:
    return [(mark["at"] - BASE, mark["kind"], mark["name"]) for mark in marks.take_new()]


def settle(attendance: Attendance, now: float, *present: str) -> None:
    attendance.settle({name: name for name in present}, lambda _: BASE + now, lambda _: BASE + now)


def test_whoever_is_there_at_first_did_not_come(marks: Marks) -> None:
    rng = Attendance("rng", marks)
    settle(rng, 0, "rng-1", "rng-2")
    assert told(marks) == []
    settle(rng, 1, "rng-2", "rng-3")
    assert told(marks) == [(1, "rng went", "rng-1"), (1, "rng came", "rng-3")]
    settle(rng, 2, "rng-2", "rng-3")
    assert told(marks) == []


def test_waiting_is_marked_once_where_it_began(marks: Marks) -> None:
    waits = Waits(marks)
    for since in ({}, {"hasher": BASE + 1}, {"hasher": BASE + 1, "rng": BASE + 2}, {}, {"hasher": BASE + 9}, {}):
        waits.settle(since)
    assert told(marks) == [(1, "waiting", "hasher"), (2, "waiting", "rng")]
    waits.settle({"hasher": BASE + 11})
    assert told(marks) == [(11, "waiting", "hasher")]


def test_one_that_changes_all_the_time_is_marked_now_and_then_and_at_last(marks: Marks) -> None:
    sizes = BatchSizes(marks)
    for second in range(35):
        sizes.hear(make_report(BASE + second, BASE + second + 1, batch_size=2 ** min(second, 25)))
    found = marks.take_new()
    assert [mark["at"] - BASE for mark in found] == [1, 11, 21, 31]
    assert found[-1]["value"] == 2**25


def test_no_more_than_an_hour_and_not_too_many_are_kept(marks: Marks) -> None:
    for second in range(MOST + 5):
        marks.add(Mark(BASE + second, "gap", "redis", until=BASE + second + 1))
    assert len(marks.all(BASE + 300)) == MOST
    assert [mark["at"] for mark in marks.all(BASE + MOST + KEPT + 3)] == [BASE + MOST + 3, BASE + MOST + 4]
