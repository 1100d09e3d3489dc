"""Picks the stream for the next batch: one of the replica with the fewest outstanding batches (least request)."""

from worker_svc.pool.endpoint import Stream
from worker_svc.replica import Replica, Replicas


class Picker:
    """All replicas of a pool, and which of their streams gets the next batch. Times are of the event loop's clock."""

    def __init__(self, window: int) -> None:
        """Share a window of this many batches."""
        self.window = window
        # By name, the least recently used first. Replicas with open streams are never removed.
        self.replicas = Replicas()
        self._accepting = 0
        # The stream that got the last batch.
        self._filling: Stream | None = None

    @property
    def ejected(self) -> list[str]:
        """Replicas whose digests were wrong, sorted."""
        return sorted(replica.name for replica in self.replicas.values() if replica.ejected)

    def add(self, stream: Stream, now: float) -> bool:
        """Let a stream take batches, unless its replica is ejected. Return whether its replica has no other."""
        address = stream.endpoint.address
        replica = self.replicas.setdefault(stream.replica, Replica(stream.replica, address))
        replica.address = address
        replica.readmit(now)
        replica.streams.add(stream)
        if not replica.ejected:
            replica.accepting.append(stream)
            self._accepting += 1
        return len(replica.streams) == 1

    def drain(self, stream: Stream) -> None:
        """Let a stream take no more batches, if it does."""
        replica = self.replicas.get(stream.replica)
        if replica is not None and stream in replica.accepting:
            self._filling = None
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
        replica.account(now, -len(stream.outstanding))
        return replica

    def pick(self, avoid: str) -> Stream | None:
        """Return a stream with room of the replica with the fewest outstanding batches, in turn where several have.

        Batches that come one right after the other go to one stream, in one message, up to an equal share of the
        window. The replica to avoid is picked only if no other has room.
        """
        share = -(-self.window // max(self._accepting, 1))
        # A fast replica may have more than its share, and a frozen one can't hold the whole window.
        limit = -(-2 * self.window // max(self._accepting, 1))
        filling = self._filling
        if share > 1 and filling and not avoid and 0 < filling.joinable < share and len(filling.outstanding) < limit:
            return filling
        best: tuple[bool, int] | None = None
        picked: Stream | None = None
        for replica in self.replicas.values():
            if not replica.accepting:
                continue
            rank = (replica.name == avoid, replica.outstanding)
            if best is None or rank < best:
                stream = min(replica.accepting, key=lambda each: len(each.outstanding))
                if len(stream.outstanding) < limit:
                    best, picked = rank, stream
        return picked

    def sent(self, stream: Stream, now: float) -> None:
        """Count a batch that is sent on this stream."""
        self._filling = stream
        replica = self.replicas[stream.replica] = self.replicas.pop(stream.replica)
        replica.account(now, 1)
        if replica.accepting[-1] is not stream:  # its streams take turns, too
            replica.accepting.remove(stream)
            replica.accepting.append(stream)
