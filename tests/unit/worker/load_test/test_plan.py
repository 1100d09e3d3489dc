import dataclasses
from typing import Any

import pytest

from worker_svc.load_test import arguments
from worker_svc.load_test.errors import UsageError
from worker_svc.load_test.options import Options
from worker_svc.load_test.plan import plan, rounds
from worker_svc.load_test.point import Mode
from worker_svc.load_test.schedule import Rate


def options(**changes: Any) -> Options:
    return dataclasses.replace(arguments.parse([]), **changes)


def test_every_combination_is_a_point() -> None:
    planned = plan(options(batch_sizes=(1, 16), windows=(1, 8), message_sizes=(32, 64), modes=tuple(Mode)))
    assert len(set(planned.points)) == 16
    assert not planned.remarks


def test_what_is_larger_than_a_batch_may_be_is_left_out_with_a_line() -> None:
    planned = plan(options(batch_sizes=(1, 65_536), message_sizes=(64,)))
    assert [point.batch_size for point in planned.points] == [1]
    (remark,) = planned.remarks
    assert "65536" in remark
    assert "2097152" in remark


def test_nothing_left_is_refused() -> None:
    with pytest.raises(UsageError, match="no point is left"):
        plan(options(batch_sizes=(65_536,), message_sizes=(64,)))


def test_a_window_is_bounded_in_bytes_as_the_workers_is() -> None:
    planned = plan(options(batch_sizes=(65_536,), windows=(32, 64, 128)))
    assert [point.window for point in planned.points] == [32]
    assert len(planned.remarks) == 2


def test_calls_have_no_streams_to_vary() -> None:
    planned = plan(options(batch_sizes=(1,), streams=(1, 64), modes=(Mode.UNARY,)))
    assert [point.streams for point in planned.points] == [0]


def test_a_point_knows_its_rate() -> None:
    (point,) = plan(options(batch_sizes=(1,), rate=Rate.parse("10..20"))).points
    assert point.rate == "10..20"


def test_every_other_round_goes_backwards() -> None:
    points = plan(options(batch_sizes=(1, 2, 3))).points
    order = [point.batch_size for point in rounds(points, 3)]
    assert order == [1, 2, 3, 3, 2, 1, 1, 2, 3]
