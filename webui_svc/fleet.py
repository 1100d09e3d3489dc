import heapq
import itertools
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, TypeVar

from chassis.latency_buckets import quantile
from chassis.redis.schema import EndpointState, ReplicaStats
from webui_svc.workers import GONE_LISTED

WINDOW = 5.0
"""Seconds of reports that rates and latencies are taken from."""

LASTING_INTERVALS = 1.5
"""Report intervals for which one counts at least: until the next one has come."""

MOST_LISTED = 16
"""Replicas of a service that are listed, in the order of their names."""

UNSEEN_LIMIT = 10.0
"""Seconds after which a replica is gone that no live worker lists: one that has just begun does not see all."""

MOST_KNOWN = 1_000
"""Replicas of a service that are remembered."""

_Key = TypeVar("_Key", int, str)

_AWAY = {EndpointState.CONNECTING, EndpointState.GONE}

_DIGITS = re.compile(r"[0-9]{1,18}")


@dataclass(slots=True)
class _Traffic:
    """A replica's batches in the window, of all workers."""

    views: int = 0
    batches: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    by_worker: dict[str, int] = field(default_factory=dict)

    def add(self, worker: str, replica: ReplicaStats, sign: int) -> None:
        """Count what a worker saw of it, or take that back."""
        self.views += sign
        self.batches += sign * replica.batches
        _add(self.by_worker, worker, sign * replica.batches)
        for bucket, count in replica.latency.items():
            _add(self.latency, bucket, sign * count)


@dataclass(slots=True)
class _Seen:
    """How a replica does, and when that was last said."""

    state: EndpointState
    address: str
    at: float
    gone_since: float | None = None


@dataclass(slots=True, order=True)
class _Counted:
    """What a worker saw, for as long as it counts."""

    until: float
    number: int
    """Makes each differ, for the order."""
    worker: str
    seconds: float
    replicas: Sequence[ReplicaStats]


class Fleet:
    """One service's replicas, as its live workers see them together. All times are of a clock that never jumps."""

    def __init__(self) -> None:
        self._counted: list[_Counted] = []  # a heap
        self._numbers = itertools.count()
        self._seconds: dict[str, float] = {}  # of each worker's views in the window
        self._traffic: dict[str, _Traffic] = {}
        self._latest: dict[str, Sequence[ReplicaStats]] = {}
        self._seen: dict[str, _Seen] = {}

    def hear(
        self,
        worker: str,
        heard: float,
        seconds: float,
        replicas: Sequence[ReplicaStats],
        *,
        report_interval: float = 1.0,
    ) -> None:
        """What one worker has seen in so many seconds, and will tell of again after its report interval."""
        until = heard + max(WINDOW, LASTING_INTERVALS * report_interval)
        heapq.heappush(self._counted, _Counted(until, next(self._numbers), worker, seconds, replicas))
        self._latest[worker] = replicas
        self._count(worker, seconds, replicas, 1)

    def settle(self, live: AbstractSet[str], now: float) -> None:
        """Leave out what is too old, and workers that are gone."""
        while self._counted and now > self._counted[0].until:
            old = heapq.heappop(self._counted)
            self._count(old.worker, old.seconds, old.replicas, -1)
        gone = self._latest.keys() - live
        if gone:
            for each in self._counted:
                if each.worker in gone:
                    self._count(each.worker, each.seconds, each.replicas, -1)
            self._counted = [each for each in self._counted if each.worker not in gone]
            heapq.heapify(self._counted)
            for worker in gone:
                del self._latest[worker]
        self._judge(now)

    def excuse(self, seconds: float) -> None:
        """Don't hold it against anyone that nothing was heard for so many seconds, for it was Redis that was away."""
        for seen in self._seen.values():
            seen.at += seconds
            seen.gone_since = None if seen.gone_since is None else seen.gone_since + seconds

    @property
    def present(self) -> set[str] | None:
        """Replicas that take batches; None when nobody is there to see any."""
        if not self._latest:
            return None
        return {name for name, seen in self._seen.items() if seen.gone_since is None}

    def replicas(self) -> dict[str, Any]:
        """Those that are there or just went, with their share of the batches, batches a second and latencies."""
        total = sum(traffic.batches for traffic in self._traffic.values())
        names = sorted(self._seen, key=natural)
        listed = [self._replica(name, total) for name in names[:MOST_LISTED]]
        return {"replicas": listed, "more": len(names) - len(listed)}

    def _replica(self, name: str, total: int) -> dict[str, Any]:
        traffic = self._traffic.get(name, _Traffic())
        rates = (batches / self._seconds[worker] for worker, batches in traffic.by_worker.items())
        return {
            "name": name,
            "address": self._seen[name].address,
            "state": self._seen[name].state.value,
            "share": round(traffic.batches / total, 4) if total else 0.0,
            "rate": round(sum(rates), 3),
            "p50": quantile(traffic.latency, 0.5),
            "p99": quantile(traffic.latency, 0.99),
        }

    def _count(self, worker: str, seconds: float, replicas: Sequence[ReplicaStats], sign: int) -> None:
        left = self._seconds.get(worker, 0.0) + sign * max(seconds, 1e-3)
        if left > 1e-6:
            self._seconds[worker] = left
        else:  # its last view left the window
            self._seconds.pop(worker, None)
        for replica in replicas:
            traffic = self._traffic.setdefault(replica.name, _Traffic())
            traffic.add(worker, replica, sign)
            if not traffic.views:
                del self._traffic[replica.name]

    def _judge(self, now: float) -> None:
        if not self._latest:  # nobody is there to see any
            self._seen.clear()
            return
        states: dict[str, EndpointState] = {}
        addresses: dict[str, str] = {}
        for replicas in self._latest.values():
            for replica in replicas:
                addresses[replica.name] = replica.address
                said = states.get(replica.name)
                states[replica.name] = replica.state if said is None else _together(said, replica.state)
        for name, state in states.items():
            self._note(name, state, addresses[name], now)
        for name, seen in list(self._seen.items()):
            if seen.gone_since is None and now - seen.at > UNSEEN_LIMIT:
                seen.state, seen.gone_since = EndpointState.GONE, now
            if seen.gone_since is not None and now - seen.gone_since > GONE_LISTED:
                del self._seen[name]

    def _note(self, name: str, state: EndpointState, address: str, now: float) -> None:
        seen = self._seen.get(name)
        if seen is None:
            if state is EndpointState.GONE or len(self._seen) >= MOST_KNOWN:
                return
            seen = self._seen[name] = _Seen(state, address, now)
        seen.state, seen.address, seen.at = state, address, now
        if state not in _AWAY:
            seen.gone_since = None
        elif seen.gone_since is None:
            seen.gone_since = now


def _add(counts: dict[_Key, int], key: _Key, count: int) -> None:
    left = counts.get(key, 0) + count
    if left:
        counts[key] = left
    else:
        counts.pop(key, None)


def natural(name: str) -> str:
    """A key by which rng-10 comes after rng-9."""
    return _DIGITS.sub(lambda digits: digits[0].zfill(18), name)


def _together(one: EndpointState, other: EndpointState) -> EndpointState:
    """Two workers' word on a replica.

    One that any has ejected is ejected, one that is slow for any is slow, and one that serves any is neither away nor
    going.
    """
    order = [EndpointState.EJECTED, EndpointState.SLOW, *EndpointState]
    return min(one, other, key=order.index)
