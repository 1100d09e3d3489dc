"""What is kept in Redis, and under which names: the same for who writes and who reads."""

from dataclasses import dataclass
from functools import cached_property

CLUSTER_PREFIX = "{dockercoins}:"
"""Where none is asked for with a cluster: one script writes all keys of a report, so they must be in one slot, which
what stands in braces decides (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/)."""

PREFIX_PATTERN = r"[A-Za-z0-9_.:{}/-]{0,64}"
"""No character that SCAN takes for a pattern."""


@dataclass(frozen=True)
class KeyNames:
    """All names begin with a prefix; without one they are those of the original, as far as it has them."""

    prefix: str = ""

    @cached_property
    def hashes(self) -> str:
        """A count."""
        return f"{self.prefix}hashes"

    @cached_property
    def coins(self) -> str:
        """A count."""
        return f"{self.prefix}coins"

    @cached_property
    def wallet(self) -> str:
        """A hash: hex digest to the bytes hashed."""
        return f"{self.prefix}wallet"

    @cached_property
    def reports(self) -> str:
        """A stream."""
        return f"{self.prefix}reports"

    @cached_property
    def totals(self) -> str:
        """A hash: a ten-second bucket's beginning to hashes."""
        return f"{self.prefix}totals"

    @cached_property
    def totals_of_workers(self) -> str:
        """What the names begin with of hashes like `totals`, one a worker."""
        return f"{self.totals}:"

    @cached_property
    def workers(self) -> str:
        """A sorted set: a worker's id by the Unix second of its last report."""
        return f"{self.prefix}workers"

    @cached_property
    def pending_report(self) -> str:
        """The report that is being taken, if one is."""
        return f"{self.prefix}pending_report"

    @cached_property
    def load_tests(self) -> str:
        """A list of load tests' reports, newest first."""
        return f"{self.prefix}load_tests"

    def worker(self, worker: str) -> str:
        """A hash of what one worker says of itself."""
        return f"{self.prefix}worker:{worker}"

    def totals_of(self, worker: str) -> str:
        """One worker's part of the totals."""
        return f"{self.totals_of_workers}{worker}"

    @property
    def have_one_slot(self) -> bool:
        """Whether a cluster keeps them together: the prefix has a tag."""
        _, _, rest = self.prefix.partition("{")
        tag, closed, _ = rest.partition("}")
        return bool(tag and closed)
