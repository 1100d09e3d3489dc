"""Which digests are coins, and what a report says of them; times are seconds of an arbitrary clock."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.redis.schema import Coin, Report
from worker_svc.batch import Batch
from worker_svc.settings import WorkerSettings
from worker_svc.tally import MAX_WALLET_BYTES, MAX_WALLET_COINS, CoinFinder, Entry, Tally


def leading_zero_bits(digest: bytes) -> int:
    return 256 - int.from_bytes(digest).bit_length()


digests = st.lists(
    st.one_of(
        st.binary(min_size=32, max_size=32),
        st.integers(0, 30).map(lambda zeros: bytes(zeros) + b"\xff" * (32 - zeros)),
        st.integers(0, 2**256 - 1).map(lambda number: (number >> 250).to_bytes(32)),
    ),
    max_size=50,
)


@given(digests, st.integers(1, 256))
def test_every_coin_is_found_and_nothing_else(packed: list[bytes], bits: int) -> None:
    """A coin is a digest with at least so many leading zero bits."""
    expected = [i for i, digest in enumerate(packed) if leading_zero_bits(digest) >= bits]
    finder = CoinFinder(bits)
    assert list(finder.positions(b"".join(packed))) == expected
    assert finder.count(b"".join(packed)) == len(expected)
    assert finder.last_positions(b"".join(packed), 3) == expected[-3:]


def batch(count: int = 1, begun: float = 0.0, size: int = 32) -> Batch:
    return Batch(1, count, size, begun, bytes(count * size), bytes(32 * count))


@pytest.fixture
def tally() -> Tally:
    return Tally(WorkerSettings(), "w-1", clock_offset=lambda: 0.0)


def count(tally: Tally, mined: Batch, now: float) -> None:
    """As a worker does: the coins for the wallet were verified before."""
    mined.verified_coins = tuple(tally.coins_for_wallet(mined, mined.digests))
    tally.count(mined, now)


def entry_at(tally: Tally, now: float, oldest: float | None = None, waits_for: str = "") -> Entry:
    return tally.report(now, oldest, 64, {"rng": (), "hasher": ()}, waits_for=waits_for)


def report_at(tally: Tally, now: float, oldest: float | None = None, waits_for: str = "") -> Report:
    return entry_at(tally, now, oldest, waits_for).report


def seconds(report: Report) -> tuple[float, float]:
    return report.begin_us / 1e6, report.end_us / 1e6


def test_before_work_has_begun_reports_say_that_nothing_was_counted() -> None:
    tally = Tally(WorkerSettings(), "w-1", clock_offset=lambda: 0.0)
    reports = [report_at(tally, 5.0), report_at(tally, 6.0, waits_for="hasher")]
    assert [seconds(report) for report in reports] == [(5.0, 5.0), (5.0, 6.0)]
    assert [(report.stalled_since_us, report.waits_for) for report in reports] == [(5e6, ""), (5e6, "hasher")]


def test_intervals_run_from_last_batch_to_last_batch(tally: Tally) -> None:
    """So that three or four batches in a second are the same speed; the first one runs from the beginning of work."""
    for step in range(1, 4):
        tally.count(batch(), 0.3 * step)
    first = report_at(tally, 1.0)
    assert (first.sequence, first.hashes, seconds(first)) == (1, 3, (0.0, 0.9))
    for step in range(4, 8):
        tally.count(batch(), 0.3 * step)
    second = report_at(tally, 2.2)
    assert (second.sequence, second.hashes, seconds(second)) == (2, 4, (0.9, 2.1))
    assert report_at(tally, 3.0).hashes == 0


def test_a_report_without_a_batch_says_since_when_and_leaves_its_interval_open(tally: Tally) -> None:
    """Time before the oldest batch in flight is time without work."""
    assert seconds(report_at(tally, 0.1, oldest=0.0)) == (0.0, 0.0)
    assert seconds(report_at(tally, 0.5, oldest=0.2)) == (0.0, 0.2)
    assert seconds(report_at(tally, 0.5)) == (0.2, 0.5)
    tally.count(batch(), 1.0)
    working = report_at(tally, 1.0, oldest=1.0, waits_for="hasher")
    assert (working.stalled_since_us, working.waits_for) == (0, "")
    for now in (2.0, 90.0):
        stalled = report_at(tally, now, oldest=1.0, waits_for="hasher")
        assert (stalled.hashes, seconds(stalled)) == (0, (1.0, 1.0))
        assert (stalled.stalled_since_us, stalled.waits_for) == (1_000_000, "hasher")
    tally.count(batch(), 95.0)
    assert seconds(report_at(tally, 95.5)) == (1.0, 95.0)  # it took so long


def test_every_coin_is_counted_but_a_report_carries_only_so_many_and_so_many_bytes(tally: Tally) -> None:
    count(tally, batch(MAX_WALLET_COINS + 500), 1.0)
    entry = entry_at(tally, 1.0)
    assert (entry.report.coins, len(entry.wallet)) == (MAX_WALLET_COINS + 500, MAX_WALLET_COINS)
    count(tally, batch(20, size=100_000), 2.0)
    entry = entry_at(tally, 2.0)
    assert (entry.report.coins, len(entry.wallet)) == (20, MAX_WALLET_BYTES // 100_000)


def test_batches_verified_at_once_leave_no_more_in_the_wallet_than_a_report_carries(tally: Tally) -> None:
    mined = [batch(MAX_WALLET_COINS - 1) for _ in range(2)]
    for each in mined:
        each.verified_coins = tuple(tally.coins_for_wallet(each, each.digests))
    for each in mined:
        tally.count(each, 1.0)
    assert len(entry_at(tally, 1.0).wallet) == MAX_WALLET_COINS


def test_a_full_wallet_gets_no_coins_but_they_count_and_the_latest_are_reported() -> None:
    tally = Tally(WorkerSettings(), "w-1", clock_offset=lambda: 1_000_000.0)
    tally.wallet_open = False
    count(tally, batch(3), 1.0)
    count(tally, batch(6), 1.5)
    entry = entry_at(tally, 2.0)
    assert (entry.report.coins, entry.wallet) == (9, [])
    assert entry.coins.latest == [Coin("00" * 32, 1_000_001.0)] * 2 + [Coin("00" * 32, 1_000_001.5)] * 6


def test_the_latest_coins_are_reported_again_until_there_are_later_ones() -> None:
    tally = Tally(WorkerSettings(), "w-1", clock_offset=lambda: 1_000_000.0)
    count(tally, batch(6), 1.0)
    assert entry_at(tally, 2.0).coins.latest == [Coin("00" * 32, 1_000_001.0)] * 6
    assert entry_at(tally, 3.0).coins.latest == [Coin("00" * 32, 1_000_001.0)] * 6
    count(tally, batch(3), 3.5)
    assert entry_at(tally, 4.0).coins.latest == [Coin("00" * 32, 1_000_001.0)] * 5 + [Coin("00" * 32, 1_000_003.5)] * 3


def test_the_wallet_holds_each_verified_digest_with_the_bytes_that_were_hashed(tally: Tally) -> None:
    messages = [i.to_bytes(4) for i in range(200)]
    packed = b"".join(sha256(message).digest() for message in messages)
    count(tally, Batch(1, 200, 4, 0.0, b"".join(messages), packed), 1.0)
    entry = entry_at(tally, 1.0)
    assert entry.report.coins == len(entry.wallet) > 0
    for digest, message in entry.wallet:
        assert sha256(message).hexdigest() == digest
        assert digest.startswith("0")
    tally.count(batch(5), 2.0)  # not verified
    entry = entry_at(tally, 2.0)
    assert (entry.report.coins, entry.wallet) == (5, [])


@pytest.mark.parametrize(("moved", "shown"), [(0.4, 0.0), (-0.4, 0.0), (7_200.0, 7_200.0), (-90.0, -90.0)])
def test_times_are_wall_clock_with_an_offset_that_follows_steps_of_the_clock(moved: float, shown: float) -> None:
    offset = 1_000_000.0
    tally = Tally(WorkerSettings(), "w-1", clock_offset=lambda: offset)
    tally.count(batch(begun=1.0), 2.5)
    assert seconds(report_at(tally, 3.0)) == (1_000_001.0, 1_000_002.5)
    offset += moved
    tally.count(batch(), 3.5)
    entry = entry_at(tally, 4.0)
    assert seconds(entry.report) == (1_000_002.5 + shown, 1_000_003.5 + shown)
    assert entry.end == 3.5
