from collections.abc import Mapping
from dataclasses import dataclass

from load_test.latency import Quantiles


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run of a point showed."""

    seconds: float
    """What the batches took."""
    hashes: int
    batches: int
    loop_hashes_per_second: float
    """What one process did of the same work just before, without a network."""
    latency: Mapping[str, Quantiles]
    """By step, and in total."""
    cpu_seconds: Mapping[str, float]
    """By process, of those that can be seen."""
    errors: Mapping[str, Mapping[str, int]]
    """Broken streams and failed calls, by service and gRPC code."""
    sent_again: int
    """Batches asked once more, since a stream or a call broke or since they were late."""
    not_begun: int
    """Batches that a rate schedule wanted and that had to wait until time was up."""
    unanswered: int
    """Batches begun that nobody had answered when there was no more waiting for them."""

    @property
    def hashes_per_second(self) -> float:
        """The speed."""
        return self.hashes / self.seconds if self.seconds else 0.0

    @property
    def of_loop(self) -> float:
        """The speed, of the in-process loop's."""
        return self.hashes_per_second / self.loop_hashes_per_second

    @property
    def cpu_per_million(self) -> dict[str, float]:
        """CPU seconds a million hashes, by process."""
        return {name: 1e6 * seconds / self.hashes if self.hashes else 0.0 for name, seconds in self.cpu_seconds.items()}
