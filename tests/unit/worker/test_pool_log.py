"""What is said of a state that lasts, moment by moment; times are seconds of an arbitrary clock."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from worker_svc.batch import Batch
from worker_svc.pool_log import ABSENCE_LIMIT_S, REPEAT_S, UNKNOWN_ABSENCE_LIMIT_S, PoolLog
from worker_svc.question import Question

TICK_S = 0.5


@pytest.fixture
def pool_log() -> PoolLog:
    return PoolLog("rng", "dns:///rng:50051")


def seconds(lines: Any) -> list[float]:
    return [line["seconds"] for line in lines]


@pytest.mark.parametrize(("details", "first"), [("refused", ABSENCE_LIMIT_S), ("", UNKNOWN_ABSENCE_LIMIT_S)])
def test_that_there_is_no_backend_is_said_within_five_seconds_and_as_long_as_it_is_so(
    pool_log: PoolLog, details: str, first: float
) -> None:
    with capture_logs() as lines:
        for tick in range(30):
            pool_log.absence(100.0, 100.0 + tick * TICK_S, details)
        pool_log.flush()
        pool_log.close()
    assert seconds(lines) == [first, first + REPEAT_S, first + 2 * REPEAT_S]
    assert all(line["details"] == details or "still connecting" in line["details"] for line in lines)
    assert first + TICK_S < 5


def test_what_has_no_answer_is_said_at_once_and_now_and_then(pool_log: PoolLog) -> None:
    late = [Question(Batch(number, 1, 32, 0.0), 0.0, asked_at=99.5, asked_of="rng-1") for number in (1, 2)]
    with capture_logs() as lines:
        for tick in range(12):
            pool_log.slow(late, 100.0 + tick * TICK_S)
        pool_log.slow([], 200.0)
        pool_log.close()
    assert seconds(lines) == [0.5, 0.5 + REPEAT_S]
    assert (lines[0]["batch"], lines[0]["backend"], lines[0]["batches"]) == (1, "rng-1", 2)
