"""The replicas of a service as one worker sees them: their states, and the statistics that it reports of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chassis.redis.schema import GONE_LISTED_S, MAX_REPLICAS, ReplicaState, ReplicaStats
from chassis.telemetry.metrics import bucket
from worker_svc.pool.endpoint import Stream
from worker_svc.retry import PeakEwma

# An ejected replica is used again after it had no open stream for this long, which indicates a restart. A connection
# that was lost alone is replaced sooner.
READMISSION_DELAY_S = 0.4

_ORDER = list(ReplicaState)


@dataclass(slots=True, eq=False)
class Replica:
    """The process behind one or more addresses, by the name that it gives itself."""

    name: str
    address: str
    state: ReplicaState = ReplicaState.CONNECTING
    # Its open streams.
    streams: set[Stream] = field(default_factory=set)
    # Those of them that take batches.
    accepting: list[Stream] = field(default_factory=list)
    # Whether it sent a wrong digest, and takes no batches.
    ejected: bool = False
    # Batches without a response, on all its streams.
    outstanding: int = 0
    # When a stream to it ended last.
    ended_at: float = float("-inf")
    # The last moment at which it was not gone.
    present_at: float = 0.0
    # Batches that it completed before any other replica did.
    completed: int = 0
    # Batches that exceeded the hedging delay on it.
    overdue: int = 0
    # The time up to which the seconds below are counted, and the time at which the first of the outstanding batches was
    # sent.
    accounted_until: float = 0.0
    busy_since: float = 0.0
    # From which the hedging delay is computed.
    usual: PeakEwma = field(default_factory=PeakEwma)
    # The least latency of a batch that met no other of this worker's, for batches of the size last sent.
    unqueued_s: float = 0.0
    batch_size: int = 0
    # Since the last snapshot: batches that it completed first, the latencies of those that were not hedged by bucket,
    # seconds with a batch outstanding, and the seconds of all outstanding batches.
    batches: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    busy_s: float = 0.0
    outstanding_s: float = 0.0

    def observe(self, latency: float | None, sent_at: float, batch_size: int) -> None:
        """Count a batch that it completed before any other replica did, and its latency in seconds if that is known."""
        self.completed += 1
        self.batches += 1
        if latency is None:
            return
        self.usual.batches += 1
        self.usual.latency_s += latency
        index = bucket(latency)
        self.latency[index] = self.latency.get(index, 0) + 1
        if batch_size != self.batch_size:
            self.batch_size, self.unqueued_s = batch_size, 0.0
        if sent_at == self.busy_since and (latency < self.unqueued_s or not self.unqueued_s):
            self.unqueued_s = latency

    def account(self, now: float, more: int = 0) -> None:
        """Count the time up to now; then `more` batches are outstanding, or fewer."""
        if self.outstanding:
            seconds = now - self.accounted_until
            self.busy_s += seconds
            self.outstanding_s += self.outstanding * seconds
        elif more > 0:
            self.busy_since = now
        self.accounted_until = now
        self.outstanding += more

    def readmit(self, now: float) -> None:
        """Let it take batches again, if it was ejected and its connections have ended."""
        if not self.streams and now - self.ended_at > READMISSION_DELAY_S:
            self.ejected = False

    def update(self, now: float, *, connecting: bool) -> None:
        """Set its state."""
        self.readmit(now)
        if self.state is not ReplicaState.GONE:
            self.present_at = now
        if self.ejected:
            self.state = ReplicaState.EJECTED
        elif self.accepting:
            self.state = ReplicaState.SERVING
        elif self.streams:
            self.state = ReplicaState.DRAINING
        else:
            self.state = ReplicaState.CONNECTING if connecting else ReplicaState.GONE

    def stats(self) -> ReplicaStats:
        """Return its statistics since the last snapshot."""
        return ReplicaStats(
            name=self.name,
            address=self.address,
            state=self.state,
            batches=self.batches,
            latency=self.latency,
            busy_s=round(self.busy_s, 6),
            outstanding_s=round(self.outstanding_s, 6),
            unqueued_s=round(self.unqueued_s, 6),
        )


class Replicas(dict[str, Replica]):
    """All replicas of a pool, by name, the least recently used first. Times are of the event loop's clock."""

    @property
    def listed(self) -> list[Replica]:
        """At most MAX_REPLICAS replicas, in the order of their states and names."""
        listed = sorted(self.values(), key=lambda each: (_ORDER.index(each.state), each.name))
        return listed[:MAX_REPLICAS]

    def update_states(self, now: float, connecting: Mapping[str, str]) -> bool:
        """Update the states of replicas, and return whether any has changed.

        `connecting` has the addresses of replicas that are not serving, by name.
        """
        before = {name: replica.state for name, replica in self.items()}
        for name, address in connecting.items():
            self.setdefault(name, Replica(name, address))
        for name, replica in list(self.items()):
            replica.update(now, connecting=name in connecting)
            is_unlisted = now - replica.present_at > GONE_LISTED_S or replica.ended_at == float("-inf")
            if replica.state is ReplicaState.GONE and is_unlisted:
                del self[name]
        return before != {name: replica.state for name, replica in self.items()}

    def snapshot(self, now: float) -> tuple[ReplicaStats, ...]:
        """Return the statistics of the replicas since the last snapshot."""
        for replica in self.values():
            replica.account(now)
        stats = tuple(each.stats() for each in self.listed)
        for replica in self.values():
            replica.batches, replica.latency = 0, {}
            replica.busy_s = replica.outstanding_s = 0.0
        return stats
