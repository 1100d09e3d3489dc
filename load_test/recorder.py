import math
from collections.abc import Mapping

from load_test.latency import Histogram, Quantiles
from worker_svc.batch import Batch
from worker_svc.stage import HasherStage, RngStage

TOTAL = "total"
"""What the latency of a batch over all steps is called, beside the steps' own names."""

QUIET_PART = 0.1
"""Part of a measurement without a batch done, at its end, that is no mere chance of where the end fell."""


class Recorder:
    """Counts batches as they are done, and how long each took, between begin() and end().

    Times are of the event loop's clock, in seconds. As in the tally that mining reports from, the time counted runs
    from the last batch done before the beginning to the last one before the end: so a few large batches give the true
    speed as well as many small ones.
    """

    def __init__(self) -> None:
        self.histograms: Mapping[str, Histogram] = {}
        self.batches = 0
        self.hashes = 0
        self.seconds = 0.0
        """What the batches took, once it has ended."""
        self._due_since = -math.inf
        self._due_until = math.inf
        self._began = 0.0
        self._last = 0.0
        """When a batch was done last."""
        self._counting = True
        self._clear()

    def _clear(self) -> None:
        self.histograms = {name: Histogram() for name in (RngStage.name, HasherStage.name, TOTAL)}
        self.batches = self.hashes = 0

    def begin(self, now: float, *, due_since: float = -math.inf) -> None:
        """Forget what was counted. Latencies in total are of batches that were due, or begun, since then."""
        self._clear()
        self._due_since = due_since
        self._began = self._last or now

    def end(self, now: float, *, due_until: float) -> None:
        """Count no more; but latencies in total are still noted of batches that were due until then."""
        self._counting = False
        self._due_until = due_until
        quiet = now - self._last > QUIET_PART * (now - self._began)
        self.seconds = (now if quiet else self._last) - self._began

    def done(self, batch: Batch, now: float) -> None:
        """A batch has gone all its way."""
        if self._counting:
            self._last = now
            self.batches += 1
            self.hashes += batch.count
        if self._due_since <= batch.begun < self._due_until:
            self.histograms[TOTAL].record(now - batch.begun)

    def took(self, name: str, seconds: float) -> None:
        """A step took a batch so long."""
        if self._counting:
            self.histograms[name].record(seconds)

    def quantiles(self) -> dict[str, Quantiles]:
        """Of the latencies of each step, and in total."""
        return {name: histogram.quantiles() for name, histogram in self.histograms.items()}
