"""Which endpoint gets the next batch: the one whose replica has the fewest outstanding (least request)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from chassis.latency_buckets import bucket
from chassis.redis.schema import MAX_REPLICAS, EndpointState, ReplicaStats
from worker_svc.pool.endpoint import Stream

# How long a replica that serves no more is still listed.
GONE_LISTED_S = 10.0

_ORDER = list(EndpointState)


@dataclass(slots=True, eq=False)
class Replica:
    """The process behind one or more addresses, by the name that it gives itself."""

    name: str
    address: str
    state: EndpointState = EndpointState.CONNECTING
    accepting: list[Stream] = field(default_factory=list)
    """Streams that take batches."""
    draining: set[Stream] = field(default_factory=set)
    outstanding: int = 0
    """Batches, on streams that are draining too."""
    turn: int = 0
    """When it was sent a batch last: after how many others of all."""
    present_at: float = 0.0
    """When it was last anything but gone."""
    batches: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    completed: int = 0
    """Batches that it completed before any other did, ever."""
    slow: int = 0
    """Batches that were over the hedging delay here, ever."""


class Picker:
    """All replicas of a pool, and which of their streams gets the next batch. Times are of the event loop's clock."""

    def __init__(self, window: int) -> None:
        """Share a window of this many batches."""
        self.window = window
        self._replicas: dict[str, Replica] = {}
        self._accepting = 0
        self._turns = 0

    @property
    def names(self) -> list[str]:
        """Replicas that take batches now, sorted."""
        return sorted(replica.name for replica in self._replicas.values() if replica.accepting)

    @property
    def replicas(self) -> list[Replica]:
        """Those that are listed, in the order of their states and names; not all if they are very many."""
        listed = sorted(self._replicas.values(), key=lambda each: (_ORDER.index(each.state), each.name))
        return listed[:MAX_REPLICAS]

    def find(self, name: str | None) -> Replica | None:
        """Return the replica of this name, unless it has been gone for long."""
        return self._replicas.get(name or "")

    def add(self, stream: Stream) -> None:
        """Let a stream take batches."""
        name = stream.replica or ""
        replica = self._replicas.setdefault(name, Replica(name, stream.endpoint.address))
        replica.address = stream.endpoint.address
        replica.accepting.append(stream)
        self._accepting += 1

    def drain(self, stream: Stream) -> None:
        """Let a stream take no more batches, if it does."""
        replica = self.find(stream.replica)
        if replica is not None and stream in replica.accepting:
            replica.accepting.remove(stream)
            replica.draining.add(stream)
            self._accepting -= 1

    def remove(self, stream: Stream) -> None:
        """Forget a stream that has ended, and what is outstanding on it."""
        self.drain(stream)
        replica = self.find(stream.replica)
        if replica is not None and stream in replica.draining:
            replica.draining.remove(stream)
            replica.outstanding -= len(stream.outstanding)

    def pick(self, last_choice: str | None) -> Stream | None:
        """Return a stream with room of the replica with the fewest outstanding batches; equals take turns.

        The last choice is a replica that is picked only if no other has room.
        """
        # Twice an equal share: a fast replica may have more, and a frozen one can't hold the whole window.
        limit = -(-2 * self.window // max(self._accepting, 1))
        best: tuple[bool, int, int] | None = None
        picked: Stream | None = None
        for replica in self._replicas.values():
            if not replica.accepting:
                continue
            rank = (replica.name == last_choice, replica.outstanding, replica.turn)
            if best is None or rank < best:
                stream = min(replica.accepting, key=_outstanding)
                if len(stream.outstanding) < limit:
                    best, picked = rank, stream
        return picked

    def sent(self, stream: Stream) -> None:
        """Count a batch that is sent on this stream."""
        replica = self._replicas[stream.replica or ""]
        replica.outstanding += 1
        self._turns += 1
        replica.turn = self._turns
        if replica.accepting[-1] is not stream:  # streams of one replica take turns, too
            replica.accepting.remove(stream)
            replica.accepting.append(stream)

    def completed(self, stream: Stream) -> None:
        """Count a response on this stream."""
        if (replica := self.find(stream.replica)) is not None:
            replica.outstanding -= 1

    def observe(self, stream: Stream, latency: float | None) -> None:
        """Count a batch that this stream completed before any other, and how long it took if that is known."""
        if (replica := self.find(stream.replica)) is not None:
            replica.completed += 1
            replica.batches += 1
            if latency is not None:
                index = bucket(latency)
                replica.latency[index] = replica.latency.get(index, 0) + 1

    def eject(self, name: str) -> set[Stream]:
        """Take no more batches to a replica; returns its streams."""
        replica = self._replicas[name]
        streams = {*replica.accepting, *replica.draining}
        self._accepting -= len(replica.accepting)
        replica.accepting.clear()
        replica.draining.clear()
        replica.outstanding = 0
        return streams

    def update(
        self, now: float, *, slow_before: float, connecting: Mapping[str, str], ejected: Collection[str] = ()
    ) -> bool:
        """Note the states of replicas, and return whether any has changed.

        Slow ones have batches outstanding that were sent before then. Connecting ones are given by name, with their
        address, and are not serving.
        """
        changed = False
        for name, address in connecting.items():
            if name not in self._replicas:
                self._replicas[name] = Replica(name, address)
                changed = True
        for name, replica in list(self._replicas.items()):
            if name in ejected:
                state = EndpointState.EJECTED
            elif replica.accepting:
                is_slow = replica.outstanding > 0 and any(each.oldest < slow_before for each in replica.accepting)
                state = EndpointState.SLOW if is_slow else EndpointState.SERVING
            elif replica.draining:
                state = EndpointState.DRAINING
            else:
                state = EndpointState.CONNECTING if name in connecting else EndpointState.GONE
            never_served = replica.state is EndpointState.CONNECTING and not replica.turn
            changed |= state is not replica.state
            replica.state = state
            if state is not EndpointState.GONE:
                replica.present_at = now
            elif never_served or now - replica.present_at > GONE_LISTED_S:
                del self._replicas[name]
        return changed

    def snapshot(self) -> tuple[ReplicaStats, ...]:
        """Return what was seen of the replicas since the last snapshot."""
        stats = tuple(
            ReplicaStats(each.name, each.address, each.state, each.batches, each.latency) for each in self.replicas
        )
        for replica in self._replicas.values():
            replica.batches, replica.latency = 0, {}
        return stats


def _outstanding(stream: Stream) -> int:
    return len(stream.outstanding)
