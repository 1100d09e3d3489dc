"""Counting finished batches, and the interval that each count took.

An interval runs from the last batch counted in the report before to the last one counted in this report, so that hashes
over time is the true speed, whatever the moment at which a report is made.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from chassis.limits import DIGEST_SIZE, MAX_BATCH_BYTES
from chassis.redis.schema import ReplicaStats
from chassis.telemetry.metrics import LatencyHistogram
from worker_svc.batch import Batch
from worker_svc.coins import CoinFinder
from worker_svc.latest_coins import LatestCoins
from worker_svc.report import Report

CLOCK_STEP_S = 0.5
"""The wall clock was set when it moved by more than this against the monotonic one; by less, it was only corrected."""

MAX_WALLET_COINS = 1_000
"""Coins a report carries to the wallet; at full pace hundreds of thousands a second are found."""

MAX_WALLET_BYTES = MAX_BATCH_BYTES
"""Hashed bytes a report carries to the wallet, for messages can be long: the longest one fits."""


def wall_offset() -> float:
    """Return the seconds that the wall clock is ahead of the monotonic one."""
    return time.time() - time.monotonic()


class Totals(NamedTuple):
    """What a worker has counted, ever."""

    batches: int
    hashes: int
    coins: int


class Tally:
    """Counts batches between two reports. Times are of the event loop's clock, in seconds."""

    def __init__(self, finder: CoinFinder, clock_offset: Callable[[], float] = wall_offset) -> None:
        self._finder = finder
        self._latest = LatestCoins(finder)
        self._read_clock_offset = clock_offset
        self._clock_offset = clock_offset()
        self._previous_end: float | None = None
        self._previous_report = 0.0
        self._end: float | None = None
        self._sequence = 0
        self._batches = 0
        self._hashes = 0
        self._coins = 0
        self._reported = Totals(0, 0, 0)
        self.latency = LatencyHistogram()
        """Of all batches: seconds from a batch's beginning to its being counted."""
        self._wallet: list[tuple[str, bytes]] = []
        self._wallet_bytes = 0
        self.wallet_open = True
        """Whether coins are still collected for the wallet; they are counted either way."""

    @property
    def totals(self) -> Totals:
        """All that was counted, reported or not."""
        batches, hashes, coins = self._reported
        return Totals(batches + self._batches, hashes + self._hashes, coins + self._coins)

    def _begin(self, begun: float) -> float:
        """Return the beginning of this interval; that of the first one is when work began."""
        if self._previous_end is None:
            self._previous_end = self._previous_report = begun
        return self._previous_end

    def count(self, batch: Batch, now: float) -> None:
        """Count a batch with its digests."""
        self._begin(batch.begun)
        self._end = now
        self.latency.observe(now - batch.begun)
        self._batches += 1
        self._hashes += batch.count
        if coins := self._finder.count(batch.digests):
            self._coins += coins
            self._latest.found(batch.digests, coins, now)
        self._collect(batch)

    def coins_for_wallet(self, batch: Batch, digests: bytes | memoryview) -> Iterator[int]:
        """Which of a batch's digests go to the wallet if it is counted next; count() takes those that were verified."""
        if self.wallet_open and (room := self._room(batch)):
            yield from itertools.islice(self._finder.positions(digests), room)

    def _room(self, batch: Batch) -> int:
        room = min(MAX_WALLET_COINS - len(self._wallet), (MAX_WALLET_BYTES - self._wallet_bytes) // batch.message_size)
        return max(room, 0)

    def _collect(self, batch: Batch) -> None:
        # Less than was verified if another batch was counted in between.
        for position in batch.verified_coins[: self._room(batch)]:
            digest = batch.digests[position * DIGEST_SIZE : (position + 1) * DIGEST_SIZE]
            message = batch.data[position * batch.message_size : (position + 1) * batch.message_size]
            self._wallet.append((digest.hex(), bytes(message)))
            self._wallet_bytes += len(message)

    @property
    def stalled(self) -> bool:
        """Whether no batch was counted since the last report."""
        return not self._batches

    def report(
        self,
        now: float,
        oldest: float | None,
        batch_size: int,
        replicas: Mapping[str, Sequence[ReplicaStats]],
        waits_for: str = "",
    ) -> Report:
        """Return everything since the last report, with the batch size, the replicas and the service waited for.

        `oldest` is when the oldest unanswered batch began: time after that may yet turn out to be worked in.
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
            sequence=self._sequence,
            batch_size=batch_size,
            hashes=self._hashes,
            coins=self._coins,
            wallet=tuple(self._wallet),
            begin_us=self._wall_us(begin),
            end_us=self._wall_us(end),
            end=end,
            stalled_since_us=self._wall_us(self._end) if self.stalled else 0,
            waits_for=waits_for if self.stalled else "",
            seconds=now - self._previous_report,
            replicas=replicas,
            latest=tuple((digest, found + self._clock_offset) for digest, found in self._latest.take()),
        )
        self._previous_report = now
        self._previous_end = end
        self._reported = self.totals
        self._batches = self._hashes = self._coins = self._wallet_bytes = 0
        self._wallet = []
        return report

    def _wall_us(self, moment: float) -> int:
        return round((moment + self._clock_offset) * 1e6)
