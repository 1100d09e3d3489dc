"""Picks the stream for the next batch: one of the replica with the fewest outstanding batches (least request)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chassis.redis.schema import GONE_LISTED_S, MAX_REPLICAS, ReplicaState, ReplicaStats
from chassis.telemetry.metrics import bucket
from worker_svc.pool.endpoint import Stream

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
    slow: int = 0
    # Batches that it completed first since the last snapshot.
    batches: int = 0
    # The latencies of those of them that were not hedged, by bucket.
    latency: dict[int, int] = field(default_factory=dict)

    def observe(self, latency: float | None) -> None:
        """Count a batch that it completed before any other replica did, and its latency in seconds if that is known."""
        self.completed += 1
        self.batches += 1
        if latency is not None:
            index = bucket(latency)
            self.latency[index] = self.latency.get(index, 0) + 1

    def readmit(self, now: float) -> None:
        """Let it take batches again, if it was ejected and its connections have ended."""
        if not self.streams and now - self.ended_at > READMISSION_DELAY_S:
            self.ejected = False

    def update(self, now: float, slow_before: float, *, connecting: bool) -> None:
        """Set its state. It is slow if a batch is outstanding that was sent before `slow_before`."""
        self.readmit(now)
        if self.state is not ReplicaState.GONE:
            self.present_at = now
        if self.ejected:
            self.state = ReplicaState.EJECTED
        elif self.accepting:
            is_slow = any(stream.oldest_sent_at < slow_before for stream in self.accepting)
            self.state = ReplicaState.SLOW if is_slow else ReplicaState.SERVING
        elif self.streams:
            self.state = ReplicaState.DRAINING
        else:
            self.state = ReplicaState.CONNECTING if connecting else ReplicaState.GONE


class Picker:
    """All replicas of a pool, and which of their streams gets the next batch. Times are of the event loop's clock."""

    def __init__(self, window: int) -> None:
        """Share a window of this many batches."""
        self.window = window
        # By name, the least recently used first. Replicas with open streams are never removed.
        self.replicas: dict[str, Replica] = {}
        self._accepting = 0

    @property
    def ejected(self) -> list[str]:
        """Replicas whose digests were wrong, sorted."""
        return sorted(replica.name for replica in self.replicas.values() if replica.ejected)

    @property
    def listed(self) -> list[Replica]:
        """At most MAX_REPLICAS replicas, in the order of their states and names."""
        listed = sorted(self.replicas.values(), key=lambda each: (_ORDER.index(each.state), each.name))
        return listed[:MAX_REPLICAS]

    def add(self, stream: Stream, now: float) -> None:
        """Let a stream take batches, unless its replica is ejected."""
        address = stream.endpoint.address
        replica = self.replicas.setdefault(stream.replica, Replica(stream.replica, address))
        replica.address = address
        replica.readmit(now)
        replica.streams.add(stream)
        if not replica.ejected:
            replica.accepting.append(stream)
            self._accepting += 1

    def drain(self, stream: Stream) -> None:
        """Let a stream take no more batches, if it does."""
        replica = self.replicas.get(stream.replica)
        if replica is not None and stream in replica.accepting:
            replica.accepting.remove(stream)
            self._accepting -= 1

    def eject(self, replica: Replica) -> None:
        """Let a replica take no more batches until its connections have ended, as after a restart."""
        replica.ejected = True
        for stream in replica.streams:
            self.drain(stream)

    def remove(self, stream: Stream, now: float) -> Replica:
        """Remove a stream that has ended, with its outstanding batches. Return its replica."""
        self.drain(stream)
        replica = self.replicas[stream.replica]
        replica.streams.remove(stream)
        replica.ended_at = now
        replica.outstanding -= len(stream.outstanding)
        return replica

    def pick(self, last_choice: str) -> Stream | None:
        """Return a stream with room of the replica with the fewest outstanding batches, in turn where several have.

        The last choice is a replica that is picked only if no other has room.
        """
        # Twice an equal share: a fast replica may have more, and a frozen one can't hold the whole window.
        limit = -(-2 * self.window // max(self._accepting, 1))
        best: tuple[bool, int] | None = None
        picked: Stream | None = None
        for replica in self.replicas.values():
            if not replica.accepting:
                continue
            rank = (replica.name == last_choice, replica.outstanding)
            if best is None or rank < best:
                stream = min(replica.accepting, key=lambda each: len(each.outstanding))
                if len(stream.outstanding) < limit:
                    best, picked = rank, stream
        return picked

    def sent(self, stream: Stream) -> None:
        """Count a batch that is sent on this stream."""
        replica = self.replicas[stream.replica] = self.replicas.pop(stream.replica)
        replica.outstanding += 1
        if replica.accepting[-1] is not stream:  # its streams take turns, too
            replica.accepting.remove(stream)
            replica.accepting.append(stream)

    def update(self, now: float, *, slow_before: float, connecting: Mapping[str, str]) -> bool:
        """Update the states of replicas, and return whether any has changed.

        A replica is slow if a batch is outstanding that was sent before `slow_before`. `connecting` has the addresses
        of replicas that are not serving, by name.
        """
        before = {name: replica.state for name, replica in self.replicas.items()}
        for name, address in connecting.items():
            self.replicas.setdefault(name, Replica(name, address))
        for name, replica in list(self.replicas.items()):
            replica.update(now, slow_before, connecting=name in connecting)
            is_unlisted = now - replica.present_at > GONE_LISTED_S or replica.ended_at == float("-inf")
            if replica.state is ReplicaState.GONE and is_unlisted:
                del self.replicas[name]
        return before != {name: replica.state for name, replica in self.replicas.items()}

    def snapshot(self) -> tuple[ReplicaStats, ...]:
        """Return the statistics of the replicas since the last snapshot."""
        stats = tuple(
            ReplicaStats(each.name, each.address, each.state, each.batches, each.latency) for each in self.listed
        )
        for replica in self.replicas.values():
            replica.batches, replica.latency = 0, {}
        return stats
