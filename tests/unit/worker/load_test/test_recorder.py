import pytest

from worker_svc.batch import Batch
from worker_svc.load_test.recorder import TOTAL, Recorder


def done(recorder: Recorder, begun: float, now: float, count: int = 10) -> None:
    recorder.done(Batch(1, count, 32, begun), now)


def test_time_runs_from_the_last_batch_before_to_the_last_one_within() -> None:
    recorder = Recorder()
    done(recorder, 0.0, 0.9)
    recorder.begin(1.0)
    done(recorder, 0.9, 1.9)
    done(recorder, 1.9, 2.9)
    recorder.end(3.0, due_until=0.0)
    done(recorder, 2.9, 3.9)
    assert recorder.hashes == 20
    assert recorder.batches == 2
    assert recorder.seconds == pytest.approx(2.0)


def test_a_silence_at_the_end_counts() -> None:
    recorder = Recorder()
    recorder.begin(1.0)
    done(recorder, 1.0, 1.1)
    recorder.end(3.0, due_until=0.0)
    assert recorder.seconds == pytest.approx(2.0)


def test_nothing_done_is_no_speed() -> None:
    recorder = Recorder()
    recorder.begin(1.0)
    recorder.end(3.0, due_until=0.0)
    assert (recorder.hashes, recorder.seconds) == (0, 2.0)


def test_latency_is_that_of_batches_that_were_due_within_and_answered_whenever() -> None:
    recorder = Recorder()
    recorder.begin(1.0, due_since=1.0)
    done(recorder, 0.5, 1.2)
    done(recorder, 1.5, 1.6)
    recorder.end(2.0, due_until=2.0)
    done(recorder, 1.9, 4.9)
    done(recorder, 2.1, 5.0)
    histogram = recorder.histograms[TOTAL]
    assert histogram.total == 2
    assert recorder.quantiles()[TOTAL].max == pytest.approx(3.0)
