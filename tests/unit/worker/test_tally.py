"""What a report says, moment by moment; times are seconds of an arbitrary clock."""

from hashlib import sha256

import pytest

from chassis.backend_state import BackendState
from worker_svc.backend_view import Sighting
from worker_svc.batch import Batch
from worker_svc.coins import CoinFinder
from worker_svc.report import Report
from worker_svc.tally import MAX_WALLET_BYTES, MAX_WALLET_COINS, Tally


def batch(count: int = 1, begun: float = 0.0, size: int = 32) -> Batch:
    data = bytes(count * size)
    return Batch(1, count, size, begun, data, bytes(32 * count))


@pytest.fixture
def tally() -> Tally:
    return Tally(CoinFinder(4), clock_offset=lambda: 0.0)


def count(tally: Tally, mined: Batch, now: float) -> None:
    """As a worker does: the coins for the wallet were verified before."""
    mined.verified_coins = tuple(tally.coins_for_wallet(mined, mined.digests))
    tally.count(mined, now)


def report_at(tally: Tally, now: float, oldest: float | None = None) -> Report:
    return tally.report(now, oldest, 64, {})


def seconds(report: Report) -> tuple[float, float]:
    return report.begin_us / 1e6, report.end_us / 1e6


def test_before_work_has_begun_reports_say_that_nothing_was_counted(tally: Tally) -> None:
    reports = [report_at(tally, 5.0), tally.report(6.0, None, 64, {}, "hasher")]
    assert [seconds(report) for report in reports] == [(5.0, 5.0), (5.0, 6.0)]
    assert [(report.stalled_since_us, report.waits_for) for report in reports] == [
        (5_000_000, ""),
        (5_000_000, "hasher"),
    ]


def test_the_first_interval_runs_from_the_beginning_of_work_to_the_last_batch(tally: Tally) -> None:
    tally.begin(10.0)
    tally.count(batch(), 10.3)
    tally.count(batch(), 10.6)
    report = report_at(tally, 11.0, 10.6)
    assert (report.sequence, report.hashes, seconds(report)) == (1, 2, (10.0, 10.6))


def test_later_intervals_run_from_last_batch_to_last_batch(tally: Tally) -> None:
    """So that three or four batches in a second are the same speed."""
    tally.begin(0.0)
    for step in range(1, 8):
        tally.count(batch(), 0.3 * step)
        if step == 3:
            report_at(tally, 1.0)
    report = report_at(tally, 2.2)
    assert report.hashes / (seconds(report)[1] - seconds(report)[0]) == pytest.approx(1 / 0.3)


def test_a_report_without_a_batch_says_since_when_and_leaves_its_interval_open(tally: Tally) -> None:
    tally.begin(0.0)
    tally.count(batch(), 1.0)
    working = tally.report(1.0, 1.0, 64, {}, "hasher")
    assert (working.stalled_since_us, working.waits_for) == (0, "")
    for now in (2.0, 90.0):
        stalled = tally.report(now, 1.0, 64, {}, "hasher")
        assert (stalled.hashes, seconds(stalled)) == (0, (1.0, 1.0))
        assert (stalled.stalled_since_us, stalled.waits_for) == (1_000_000, "hasher")


def test_time_before_the_oldest_unanswered_batch_is_time_without_work(tally: Tally) -> None:
    tally.begin(0.0)
    assert seconds(report_at(tally, 5.0, oldest=2.0)) == (0.0, 2.0)


def test_time_with_nothing_in_flight_is_time_without_work(tally: Tally) -> None:
    tally.begin(0.0)
    assert seconds(report_at(tally, 5.0)) == (0.0, 5.0)


def test_a_batch_that_took_long_gets_the_time_it_took(tally: Tally) -> None:
    tally.begin(0.0)
    report_at(tally, 5.0, oldest=0.0)
    tally.count(batch(), 20.0)
    assert seconds(report_at(tally, 20.5)) == (0.0, 20.0)


def test_sequence_numbers_count_reports_and_hashes_are_reported_once(tally: Tally) -> None:
    tally.begin(0.0)
    tally.count(batch(7), 1.0)
    reports = [report_at(tally, 2.0), report_at(tally, 3.0), report_at(tally, 4.0)]
    assert [(report.sequence, report.hashes) for report in reports] == [(1, 7), (2, 0), (3, 0)]


def test_every_coin_is_counted_but_a_report_carries_only_so_many(tally: Tally) -> None:
    tally.begin(0.0)
    count(tally, batch(MAX_WALLET_COINS + 500), 1.0)
    report = report_at(tally, 1.0)
    assert report.coins == MAX_WALLET_COINS + 500
    assert len(report.wallet) == MAX_WALLET_COINS


def test_a_report_carries_only_so_many_bytes(tally: Tally) -> None:
    tally.begin(0.0)
    count(tally, batch(20, size=100_000), 1.0)
    assert len(report_at(tally, 1.0).wallet) == MAX_WALLET_BYTES // 100_000


def test_a_full_wallet_gets_no_coins_but_they_count(tally: Tally) -> None:
    tally.begin(0.0)
    tally.wallet_open = False
    count(tally, batch(5), 1.0)
    report = report_at(tally, 1.0)
    assert (report.coins, report.wallet) == (5, ())


def test_the_wallet_holds_each_digest_with_the_bytes_that_were_hashed(tally: Tally) -> None:
    messages = [i.to_bytes(4) for i in range(200)]
    packed = b"".join(sha256(message).digest() for message in messages)
    tally.begin(0.0)
    count(tally, Batch(1, 200, 4, 0.0, b"".join(messages), packed), 1.0)
    report = report_at(tally, 1.0)
    assert report.coins == len(report.wallet) > 0
    for digest, message in report.wallet:
        assert sha256(message).hexdigest() == digest
        assert digest.startswith("0")


def test_a_coin_that_was_not_verified_is_counted_and_not_in_the_wallet(tally: Tally) -> None:
    tally.begin(0.0)
    tally.count(batch(5), 1.0)
    report = report_at(tally, 1.0)
    assert (report.coins, report.wallet) == (5, ())


@pytest.mark.parametrize(("moved", "shown"), [(0.4, 0.0), (-0.4, 0.0), (7_200.0, 7_200.0), (-90.0, -90.0)])
def test_times_are_wall_clock_with_an_offset_that_follows_steps_of_the_clock(moved: float, shown: float) -> None:
    offset = 1_000_000.0
    tally = Tally(CoinFinder(4), clock_offset=lambda: offset)
    tally.begin(1.0)
    tally.count(batch(), 2.5)
    assert seconds(report_at(tally, 3.0)) == (1_000_001.0, 1_000_002.5)
    offset += moved
    tally.count(batch(), 3.5)
    report = report_at(tally, 4.0)
    assert seconds(report) == (1_000_002.5 + shown, 1_000_003.5 + shown)
    assert report.end == 3.5


def test_the_latest_coins_are_told_though_the_wallet_is_full() -> None:
    tally = Tally(CoinFinder(4), clock_offset=lambda: 1_000_000.0)
    tally.begin(0.0)
    tally.wallet_open = False
    tally.count(batch(3), 1.0)
    tally.count(batch(6), 1.5)
    latest = report_at(tally, 2.0).latest
    assert latest == (("00" * 32, 1_000_001.0),) * 2 + (("00" * 32, 1_000_001.5),) * 6
    assert report_at(tally, 3.0).latest == ()


def test_what_was_seen_of_backends_is_told_with_the_time_it_took(tally: Tally) -> None:
    seen = {"rng": (Sighting("rng-1", BackendState.SERVING, 3, {40: 3}),), "hasher": ()}
    tally.begin(10.0)
    first, second = tally.report(10.25, None, 64, seen), tally.report(11.25, None, 64, {})
    assert (first.seconds, first.backends) == (0.25, seen)
    assert (second.seconds, second.backends) == (1.0, {})


def test_totals_grow_over_all_reports(tally: Tally) -> None:
    tally.begin(0.0)
    assert tally.totals == (0, 0, 0)
    for moment in (1.0, 2.0):
        tally.count(batch(count=3), moment)
        report_at(tally, moment)
    tally.count(batch(count=1), 3.0)
    assert tally.totals == (3, 7, 7)


def test_each_batch_s_time_is_from_its_beginning_to_its_count(tally: Tally) -> None:
    tally.begin(0.0)
    tally.count(batch(begun=0.5), 1.0)
    report_at(tally, 1.0)
    tally.count(batch(begun=1.0), 3.0)
    assert (sum(tally.latency.counts), tally.latency.seconds) == (2, 2.5)
