from dataclasses import dataclass, field

from worker_svc.batch_stream import BatchStream


@dataclass(eq=False)
class Backend:
    """One server, by the name it gives itself, as a pool sees it."""

    name: str
    streams: list[BatchStream] = field(default_factory=list)
    """Those that take new batches, the one asked last at the end."""
    ending: list[BatchStream] = field(default_factory=list)
    """Those that only answer what they owe."""
    owed: int = 0
    """Batches it has not answered, on streams that are ending too."""
    turn: int = 0
    """When it was last asked: the how manieth of all batches that was."""


class Backends:
    """All servers of a pool, and which of them is asked next."""

    def __init__(self, window: int) -> None:
        """Servers that share `window` batches."""
        self.window = window
        self._backends: dict[str, Backend] = {}
        self._open_streams = 0
        self._turns = 0

    @property
    def names(self) -> list[str]:
        """Those that take batches now, sorted."""
        return sorted(backend.name for backend in self._backends.values() if backend.streams)

    def owed(self, name: str) -> int:
        """Batches that this one has not answered."""
        return self._backends[name].owed if name in self._backends else 0

    def add(self, stream: BatchStream) -> None:
        """Let an open stream take batches."""
        name = stream.backend or ""
        self._backends.setdefault(name, Backend(name)).streams.append(stream)
        self._open_streams += 1

    def withdraw(self, stream: BatchStream) -> None:
        """Let a stream take no more batches, if it does."""
        backend = self._backends.get(stream.backend or "")
        if backend and stream in backend.streams:
            backend.streams.remove(stream)
            backend.ending.append(stream)
            self._open_streams -= 1

    def remove(self, stream: BatchStream) -> None:
        """Forget a stream that has ended, and what it owes."""
        self.withdraw(stream)
        backend = self._backends.get(stream.backend or "")
        if backend and stream in backend.ending:
            backend.ending.remove(stream)
        self.settled(stream, len(stream.owed))

    def eject(self, name: str) -> set[BatchStream]:
        """Forget a server and what it owes; returns its streams."""
        backend = self._backends.pop(name)
        self._open_streams -= len(backend.streams)
        return {*backend.streams, *backend.ending}

    def late(self, asked_before: float) -> list[str]:
        """Those that owe what they were asked for before that moment."""
        return [
            backend.name
            for backend in self._backends.values()
            if any(stream.oldest < asked_before for stream in (*backend.streams, *backend.ending))
        ]

    def next_stream(self, worst_choice: str | None) -> BatchStream | None:
        """A stream with room of the backend that owes least, in turn where several do; the worst choice comes last."""
        # Twice an equal share: a fast backend may take more, a frozen one can't swallow the window.
        share = -(-2 * self.window // max(self._open_streams, 1))
        chosen: tuple[tuple[bool, int, int], BatchStream] | None = None
        for backend in self._backends.values():
            rank = (backend.name == worst_choice, backend.owed, backend.turn)
            if backend.streams and (chosen is None or rank < chosen[0]):
                stream = min(backend.streams, key=_owed)
                if len(stream.owed) < share:
                    chosen = (rank, stream)
        return chosen[1] if chosen else None

    def asked(self, stream: BatchStream) -> None:
        """Note that this stream is given a batch."""
        backend = self._backends[stream.backend or ""]
        backend.owed += 1
        self._turns += 1
        backend.turn = self._turns
        backend.streams.remove(stream)
        backend.streams.append(stream)

    def settled(self, stream: BatchStream, batches: int) -> None:
        """Note that this stream owes so many less, and forget who owes nothing and takes nothing."""
        backend = self._backends.get(stream.backend or "")
        if backend is not None:
            backend.owed -= batches
            if not backend.owed and not backend.streams:
                del self._backends[backend.name]


def _owed(stream: BatchStream) -> int:
    return len(stream.owed)
