"""Every replica that is there: rng's and hasher's as the workers see them, the workers themselves, Redis and webui.

All times are of a monotonic clock.
"""

import heapq
import itertools
import re
from collections import Counter, deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from chassis.redis.schema import SERVICES, EndpointState, ReplicaSnapshot, ReplicaStats
from chassis.telemetry.metrics import quantile
from webui_svc.speed import GONE_LISTED_S, Speed

# Rates and latencies are taken from the reports of these seconds, and each report counts until the next one has come.
WINDOW_S = 5.0
LASTING_INTERVALS = 1.5

# Replicas of a service that are listed, in the order of their names, and that are remembered.
MAX_LISTED = 16
MAX_KNOWN = 1_000

# A replica that no live worker lists is gone after this time: a worker that has just begun does not see all.
UNSEEN_LIMIT_S = 10.0

# Figures that move with every report are updated once in this time.
STEADY_S = 1.0

_AWAY = {EndpointState.CONNECTING, EndpointState.GONE}
# Of two workers' views of a replica the first counts: it is ejected or slow if it is for either, and otherwise it is
# neither away nor draining if it serves either.
_PRECEDENCE = [EndpointState.EJECTED, EndpointState.SLOW, *EndpointState]

_DIGITS = re.compile(r"[0-9]{1,18}")


@dataclass(slots=True)
class _Traffic:
    """A replica's batches in the window, of all workers."""

    reports: int = 0
    latency: Counter[int] = field(default_factory=Counter)
    by_worker: Counter[str] = field(default_factory=Counter)

    def add(self, worker: str, replica: ReplicaStats, sign: int) -> None:
        """Count what a worker saw of it, or take that back."""
        self.reports += sign
        self.by_worker[worker] += sign * replica.batches
        for bucket, count in replica.latency.items():
            self.latency[bucket] += sign * count


@dataclass(slots=True)
class _Known:
    """How a replica does, and when a worker saw it last."""

    state: EndpointState
    address: str
    seen: float
    gone_since: float | None = None


@dataclass(slots=True, order=True)
class _Counted:
    """What a worker saw, for as long as it counts; the number makes each differ, for the order."""

    until: float
    number: int
    worker: str
    seconds: float
    replicas: Sequence[ReplicaStats]


class ReplicaStatistics:
    """One service's replicas, as its live workers see them together."""

    def __init__(self) -> None:
        self._counted: list[_Counted] = []  # a heap
        self._numbers = itertools.count()
        self._seconds: dict[str, float] = {}  # of each worker's reports in the window
        self._traffic: dict[str, _Traffic] = {}
        self._latest: dict[str, Sequence[ReplicaStats]] = {}
        self._known: dict[str, _Known] = {}

    def ingest(
        self,
        worker: str,
        clock: float,
        seconds: float,
        replicas: Sequence[ReplicaStats],
        report_interval_s: float = 1.0,
    ) -> None:
        """Count what a worker has seen in so many seconds; it reports again after its report interval."""
        until = clock + max(WINDOW_S, LASTING_INTERVALS * report_interval_s)
        counted = _Counted(until, next(self._numbers), worker, seconds, replicas)
        heapq.heappush(self._counted, counted)
        self._latest[worker] = replicas
        self._count(counted, 1)

    def finalize(self, live: AbstractSet[str], clock: float) -> None:
        """Leave out what is too old, and workers that are gone."""
        while self._counted and clock > self._counted[0].until:
            self._count(heapq.heappop(self._counted), -1)
        if gone := self._latest.keys() - live:
            for each in self._counted:
                if each.worker in gone:
                    self._count(each, -1)
            self._counted = [each for each in self._counted if each.worker not in gone]
            heapq.heapify(self._counted)
            for worker in gone:
                del self._latest[worker]
        self._update_states(clock)

    def ignore_gap(self, seconds: float) -> None:
        """Take no silence of so many seconds for a replica's, for it was Redis that was away."""
        for known in self._known.values():
            known.seen += seconds
            known.gone_since = None if known.gone_since is None else known.gone_since + seconds

    @property
    def present(self) -> set[str] | None:
        """The replicas that take batches; None without a worker that sees any."""
        if not self._latest:
            return None
        return {name for name, known in self._known.items() if known.gone_since is None}

    @property
    def states(self) -> list[tuple[str, EndpointState]]:
        """The listed replicas' names and states, in the order of their names."""
        return [(name, self._known[name].state) for name in sorted(self._known, key=natural)[:MAX_LISTED]]

    def figures(self) -> dict[str, Any]:
        """Return the replicas that are there or just left, with share of requests, batches per second and latencies."""
        total = sum(traffic.by_worker.total() for traffic in self._traffic.values())
        listed = [self._figures_of(name, total) for name, _ in self.states]
        return {"replicas": listed, "more": len(self._known) - len(listed)}

    def _figures_of(self, name: str, total: int) -> dict[str, Any]:
        traffic = self._traffic.get(name, _Traffic())
        rates = (batches / self._seconds[worker] for worker, batches in traffic.by_worker.items() if batches)
        return {
            "name": name,
            "address": self._known[name].address,
            "state": self._known[name].state,
            "share": round(traffic.by_worker.total() / total, 4) if total else 0.0,
            "rate": round(sum(rates), 3),
            "p50": quantile(traffic.latency, 0.5),
            "p99": quantile(traffic.latency, 0.99),
        }

    def _count(self, counted: _Counted, sign: int) -> None:
        left = self._seconds.get(counted.worker, 0.0) + sign * max(counted.seconds, 1e-3)
        if left > 1e-6:
            self._seconds[counted.worker] = left
        else:  # its last report left the window
            self._seconds.pop(counted.worker, None)
        for replica in counted.replicas:
            traffic = self._traffic.setdefault(replica.name, _Traffic())
            traffic.add(counted.worker, replica, sign)
            if not traffic.reports:
                del self._traffic[replica.name]

    def _update_states(self, clock: float) -> None:
        if not self._latest:
            self._known.clear()
            return
        together: dict[str, ReplicaStats] = {}
        for replica in itertools.chain.from_iterable(self._latest.values()):
            other = together.get(replica.name)
            if other is None or _PRECEDENCE.index(replica.state) <= _PRECEDENCE.index(other.state):
                together[replica.name] = replica
        for replica in together.values():
            self._update(replica, clock)
        for name, known in list(self._known.items()):
            if known.gone_since is None and clock - known.seen > UNSEEN_LIMIT_S:
                known.state, known.gone_since = EndpointState.GONE, clock
            if known.gone_since is not None and clock - known.gone_since > GONE_LISTED_S:
                del self._known[name]

    def _update(self, replica: ReplicaStats, clock: float) -> None:
        known = self._known.get(replica.name)
        if known is None:
            if replica.state is EndpointState.GONE or len(self._known) >= MAX_KNOWN:
                return
            known = self._known[replica.name] = _Known(replica.state, replica.address, clock)
        known.state, known.address, known.seen = replica.state, replica.address, clock
        if replica.state not in _AWAY:
            known.gone_since = None
        elif known.gone_since is None:
            known.gone_since = clock


class Topology:
    """All replicas, and the figures that are shown of them."""

    def __init__(self, redis_name: str, webui_name: str) -> None:
        self.statistics = {service: ReplicaStatistics() for service in SERVICES}
        self.browsers = 0
        self._redis_name = redis_name
        self._webui_name = webui_name
        self._reports: deque[float] = deque()
        self._replicas: dict[str, Any] = {service: {"replicas": [], "more": 0} for service in (*SERVICES, "worker")}
        self._states: list[Any] = []
        self._due = 0.0

    def ingest(self, seen: float) -> None:
        """Count a report."""
        self._reports.append(seen)

    def ingest_replicas(self, worker: str, clock: float, seen: ReplicaSnapshot, report_interval_s: float) -> None:
        """Take over what a worker sees; it reports again after its report interval."""
        for service, statistics in self.statistics.items():
            statistics.ingest(worker, clock, seen.seconds, getattr(seen, service), report_interval_s)

    def finalize(self, speed: Speed, now_us: int, clock: float) -> bool:
        """Update the figures once a second, or at once when a replica joined, left or changed its state.

        Return whether they were updated.
        """
        while self._reports and clock - self._reports[0] > WINDOW_S:
            self._reports.popleft()
        live, gone = speed.workers.live(clock), speed.workers.gone(clock)
        for statistics in self.statistics.values():
            statistics.finalize(live.keys(), clock)
        workers = {**live, **gone}
        listed = sorted(workers, key=lambda name: (natural(workers[name].report.instance), name))
        waits = [(name, name in live, workers[name].report.waits_for) for name in listed[:MAX_LISTED]]
        states = [*(statistics.states for statistics in self.statistics.values()), waits]
        if states == self._states and clock < self._due:
            return False
        self._states, self._due = states, clock + STEADY_S
        self._replicas = {service: statistics.figures() for service, statistics in self.statistics.items()}
        self._replicas["worker"] = {
            "replicas": [
                {
                    "name": workers[name].report.instance,
                    "id": name,
                    "state": "gone" if not is_live else "waiting" if waits_for else "serving",
                    "waits_for": waits_for if is_live else "",
                    "speed": round(workers[name].speed(now_us) or 0.0, 4) if is_live else 0.0,
                    "batch_size": workers[name].report.batch_size,
                }
                for name, is_live, waits_for in waits
            ],
            "more": len(listed) - len(waits),
        }
        self._replicas["redis"] = {"reports": round(len(self._reports) / WINDOW_S, 1)}
        self._replicas["webui"] = {"name": self._webui_name, "browsers": self.browsers}
        return True

    def figures(self, *, redis: bool) -> dict[str, Any]:
        """Return the figures; while Redis is away, those of before."""
        reports = self._replicas["redis"]["reports"] if redis else 0.0
        state = "serving" if redis else "gone"
        return {**self._replicas, "redis": {"name": self._redis_name, "state": state, "reports": reports}}


def natural(name: str) -> str:
    """Return a key by which rng-10 comes after rng-9."""
    return _DIGITS.sub(lambda digits: digits[0].zfill(18), name)
