"""Counts batches and their coins, and makes reports of them.

A report's interval runs from the last batch counted in the report before to the last one counted in this report, so
that hashes over time is the true speed, whatever the moment at which the report is made.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from chassis import log
from chassis.batch_limits import DIGEST_SIZE, MAX_BATCH_BYTES
from chassis.redis.schema import MAX_NEW_COINS, Change, Coin, NewCoins, ReplicaSnapshot, ReplicaStats, Report
from chassis.telemetry.metrics import LatencyHistogram
from chassis.timing import thread_busy_s
from worker_svc.batch import Batch
from worker_svc.changes import Changes
from worker_svc.settings import WorkerSettings

# The wall clock was set when it moved by more than this against the monotonic one; by less, it was only corrected.
CLOCK_STEP_S = 0.5

# At most one coin is logged in this time.
COIN_INTERVAL_S = 1.0

# What a report carries to the wallet: at full pace hundreds of thousands of coins per second are found, and messages
# can be long. The longest one fits.
MAX_WALLET_COINS = 1_000
MAX_WALLET_BYTES = MAX_BATCH_BYTES

_MARK = b"\x01"


def wall_offset() -> float:
    """Return the seconds that the wall clock is ahead of the monotonic one."""
    return time.time() - time.monotonic()


class CoinFinder:
    """Finds the coins among packed digests: those that begin with `bits` zero bits, 1 to 256."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        below = 1 << (8 - min(bits, 8))
        self._marks = bytes(byte < below for byte in range(256))

    def count(self, digests: bytes | memoryview) -> int:
        """Return how many of the digests are coins."""
        if self._bits <= 8:
            return self._candidates(digests).count(_MARK)
        return sum(1 for _ in self.positions(digests))

    def positions(self, digests: bytes | memoryview) -> Iterator[int]:
        """Return the positions of all coins, in order."""
        candidates = self._candidates(digests)
        position = candidates.find(_MARK)
        while position >= 0:
            if self._is_coin(digests, position):
                yield position
            position = candidates.find(_MARK, position + 1)

    def last_positions(self, digests: bytes | memoryview, limit: int) -> list[int]:
        """Return the positions of the last `limit` coins, in order."""
        candidates = self._candidates(digests)
        last: list[int] = []
        position = len(candidates)
        while len(last) < limit and (position := candidates.rfind(_MARK, 0, position)) >= 0:
            if self._is_coin(digests, position):
                last.append(position)
        return last[::-1]

    def _candidates(self, digests: bytes | memoryview) -> bytes:
        # No digest is looked at in Python: the first byte decides up to 8 bits, and beyond that leaves one in 256.
        return bytes(digests[::DIGEST_SIZE]).translate(self._marks)

    def _is_coin(self, digests: bytes | memoryview, position: int) -> bool:
        if self._bits <= 8:
            return True
        return int.from_bytes(_digest(digests, position)) >> (8 * DIGEST_SIZE - self._bits) == 0


def _digest(digests: bytes | memoryview, position: int) -> bytes | memoryview:
    return digests[position * DIGEST_SIZE : (position + 1) * DIGEST_SIZE]


class Entry(NamedTuple):
    """A report, and what else the ledger sends with it."""

    # Its sent_us is that of each attempt to send it.
    report: Report
    replicas: ReplicaSnapshot
    coins: NewCoins
    # Some of the coins: hex digest and the bytes hashed.
    wallet: Sequence[tuple[str, bytes]]
    # The end of the interval on the event loop's clock.
    end: float
    # What the worker noticed, for annotations; and whether this is its last report.
    changes: Sequence[Change] = ()
    leaving: bool = False


class Totals(NamedTuple):
    """What a worker has counted, ever."""

    batches: int
    hashes: int
    coins: int


class Tally:
    """Counts batches between two reports. Times are seconds of the event loop's clock."""

    def __init__(
        self, settings: WorkerSettings, worker_id: str, clock_offset: Callable[[], float] = wall_offset
    ) -> None:
        # From a batch's beginning to its being counted.
        self.latency = LatencyHistogram()
        # Whether coins are still collected for the wallet; they are counted either way.
        self.wallet_open = True
        self._settings = settings
        self._worker_id = worker_id
        self._finder = CoinFinder(settings.difficulty_bits)
        self._read_clock_offset = clock_offset
        self._clock_offset = clock_offset()
        self._previous_end: float | None = None
        self._previous_report = 0.0
        self._previous_busy_s = thread_busy_s()
        self._end: float | None = None
        self._sequence = 0
        self._batches = 0
        self._hashes = 0
        self._coins = 0
        self._reported = Totals(0, 0, 0)
        self._wallet: list[tuple[str, bytes]] = []
        self._wallet_bytes = 0
        # The latest coins; and the digests among which are later ones, how many of them, and when they were counted.
        self._latest: list[Coin] = []
        self._later: deque[tuple[bytes | memoryview, int, float]] = deque()
        self._later_coins = 0
        # The coins that lines of the log have counted, and until when there is no other line.
        self._logged_coins = 0
        self._no_line_until = 0.0

    @property
    def totals(self) -> Totals:
        """All that was counted, reported or not."""
        batches, hashes, coins = self._reported
        return Totals(batches + self._batches, hashes + self._hashes, coins + self._coins)

    @property
    def stalled(self) -> bool:
        """Whether no batch was counted since the last report."""
        return not self._batches

    def count(self, batch: Batch, now: float) -> None:
        """Count a batch with its digests."""
        self._begin(batch.begun)
        self._end = now
        self._batches += 1
        self._hashes += batch.count
        if coins := self._finder.count(batch.digests):
            self._coins += coins
            self._keep_latest(batch.digests, coins, now)
            if now >= self._no_line_until:
                self._log_coin(batch, now)
        # Fewer coins than were verified, if another batch was counted in between.
        for position in batch.verified_coins[: self._wallet_room(batch)]:
            message = batch.data[position * batch.message_size : (position + 1) * batch.message_size]
            self._wallet.append((_digest(batch.digests, position).hex(), bytes(message)))
            self._wallet_bytes += len(message)
        self.latency.observe(now - batch.begun)

    def _begin(self, begun: float) -> float:
        """Return the beginning of this interval; that of the first one is when work began."""
        if self._previous_end is None:
            self._previous_end = self._previous_report = begun
        return self._previous_end

    def coins_for_wallet(self, batch: Batch, digests: bytes | memoryview) -> Iterator[int]:
        """Return the positions of the coins that go to the wallet if they are verified and the batch is counted."""
        if self.wallet_open and (room := self._wallet_room(batch)):
            yield from itertools.islice(self._finder.positions(digests), room)

    def _wallet_room(self, batch: Batch) -> int:
        room = min(MAX_WALLET_COINS - len(self._wallet), (MAX_WALLET_BYTES - self._wallet_bytes) // batch.message_size)
        return max(room, 0)

    def _log_coin(self, batch: Batch, now: float) -> None:
        """Log the last coin of a batch, with the number of coins since the previous line."""
        self._no_line_until = now + COIN_INTERVAL_S
        coins = self.totals.coins - self._logged_coins
        self._logged_coins += coins
        [position] = self._finder.last_positions(batch.digests, 1)
        digest = _digest(batch.digests, position).hex()
        since = f" ({coins:,} since the last line)" if coins > 1 else ""
        log.get().info(f"Coin found: {digest[:8]}...{since}", figures={"digest": digest, "coins": coins})

    def _keep_latest(self, digests: bytes | memoryview, coins: int, now: float) -> None:
        self._later.append((digests, coins, now))
        self._later_coins += coins
        while (fewer := self._later_coins - self._later[0][1]) >= MAX_NEW_COINS:
            self._later_coins = fewer
            self._later.popleft()

    def _latest_of_all(self) -> list[Coin]:
        """Return the latest coins, also those that were reported before: a webui that has just started shows them."""
        later = [
            Coin(_digest(digests, position).hex(), round(now + self._clock_offset, 6))
            for digests, _, now in self._later
            for position in self._finder.last_positions(digests, MAX_NEW_COINS)
        ]
        self._later.clear()
        self._later_coins = 0
        self._latest = [*self._latest, *later][-MAX_NEW_COINS:]
        return self._latest

    def report(  # noqa: PLR0913 - what the tally itself does not count
        self,
        now: float,
        oldest: float | None,
        batch_size: int,
        replicas: Mapping[str, Sequence[ReplicaStats]],
        *,
        waits_for: str = "",
        window: int = 1,
        changes: Changes | None = None,
        leaving: bool = False,
    ) -> Entry:
        """Return everything since the last report, and what the tally does not count.

        `oldest` is when the oldest batch in flight began. A report without a batch ends its interval there, since time
        after that may yet turn out to be worked in.
        """
        offset = self._read_clock_offset()
        if abs(offset - self._clock_offset) > CLOCK_STEP_S:
            self._clock_offset = offset
        begin = self._begin(now if oldest is None else oldest)
        if self._end is None:
            self._end = begin
        end = max(begin, now if oldest is None else oldest) if self.stalled else self._end
        self._sequence += 1
        report = Report(
            worker=self._worker_id,
            instance=self._settings.instance,
            sequence=self._sequence,
            hashes=self._hashes,
            coins=self._coins,
            begin_us=self._wall_us(begin),
            end_us=self._wall_us(end),
            batch_size=batch_size,
            pace=self._settings.pace,
            report_interval_us=round(self._settings.report_interval * 1e6),
            sent_us=0,
            stalled_since_us=self._wall_us(self._end) if self.stalled else 0,
            waits_for=waits_for if self.stalled else "",
        )
        seconds = round(now - self._previous_report, 6)
        busy_s = thread_busy_s()
        entry = Entry(
            report,
            ReplicaSnapshot(seconds, **replicas, window=window, cpu_s=round(busy_s - self._previous_busy_s, 6)),
            NewCoins(self._settings.difficulty_bits, self._latest_of_all()),
            self._wallet,
            end,
            [] if changes is None else changes.take(self._wall_us),
            leaving,
        )
        self._previous_report = now
        self._previous_busy_s = busy_s
        self._previous_end = end
        self._reported = self.totals
        self._batches = self._hashes = self._coins = self._wallet_bytes = 0
        self._wallet = []
        return entry

    def _wall_us(self, moment: float) -> int:
        return round((moment + self._clock_offset) * 1e6)
