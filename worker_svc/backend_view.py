"""What a pool sees of its backends, to be reported: who is there, in what state, and how fast each answers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from chassis.backend_state import BackendState
from chassis.latency_buckets import bucket
from chassis.stored import MAX_BACKENDS

GONE_SECONDS = 10.0
"""How long a backend that takes no more batches is still listed."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A backend as it was seen since the report before."""

    name: str
    state: BackendState
    batches: int
    """Batches it answered before anybody else did."""
    latency: Mapping[int, int]
    """How many of them took how long, by bucket; without those asked of a second backend, too."""


class Record(NamedTuple):
    """A backend as it was seen since it came."""

    name: str
    answered: int
    """Batches it answered before anybody else did."""
    late: int
    """Batches it had not answered when they were late, whoever did in the end."""


@dataclass(slots=True)
class _Seen:
    state: BackendState
    present: float
    """When it was last seen to take batches, or to be ejected."""
    batches: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    told: int = 0
    """Batches of earlier reports."""
    late: int = 0


_ORDER = list(BackendState)


class BackendView:
    """Watches backends from one report to the next. Times are of one clock, in seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def answered(self, name: str, latency: float | None) -> None:
        """Count a batch, and how long it took if that is known."""
        seen = self._seen.get(name)
        if seen is None:  # it has been gone for so long that it is no longer listed
            return
        seen.batches += 1
        if latency is not None:
            index = bucket(latency)
            seen.latency[index] = seen.latency.get(index, 0) + 1

    def late(self, name: str) -> None:
        """Count a batch that has no answer yet and should have one."""
        if name in self._seen:
            self._seen[name].late += 1

    def look(self, names: Collection[str], late: Collection[str], now: float, *, ejected: Collection[str] = ()) -> bool:
        """Note who takes batches now, who of them is late and who is ejected; whether that is news."""
        changed = False
        for name in names:
            state = BackendState.LATE if name in late else BackendState.SERVING
            seen = self._seen.setdefault(name, _Seen(BackendState.GONE, now))
            changed |= seen.state is not state
            seen.state, seen.present = state, now
        for name in self._seen.keys() - names:
            seen = self._seen[name]
            state = BackendState.EJECTED if name in ejected else BackendState.GONE
            changed |= seen.state is not state
            seen.state = state
            if state is BackendState.EJECTED:
                seen.present = now
            elif now - seen.present > GONE_SECONDS:
                del self._seen[name]
        return changed

    def take(self) -> tuple[Sighting, ...]:
        """What was seen since this was last asked, those that serve first and then by name."""
        taken = tuple(Sighting(name, seen.state, seen.batches, seen.latency) for name, seen in self._listed())
        for seen in self._seen.values():
            seen.told += seen.batches
            seen.batches, seen.latency = 0, {}
        return taken

    def records(self) -> tuple[Record, ...]:
        """The same backends in the same order, with what each did since it came."""
        return tuple(Record(name, seen.told + seen.batches, seen.late) for name, seen in self._listed())

    def _listed(self) -> list[tuple[str, _Seen]]:
        ordered = sorted(self._seen.items(), key=lambda each: (_ORDER.index(each[1].state), each[0]))
        return ordered[:MAX_BACKENDS]
