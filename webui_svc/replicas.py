"""Every replica that is there: rng's and hasher's as the workers see them, the workers themselves, Redis and webui.

All times are of a monotonic clock.
"""

import itertools
import math
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from chassis.redis.schema import GONE_LISTED_S, SERVICES, ReplicaSnapshot, ReplicaState, ReplicaStats
from chassis.telemetry.metrics import BUCKET_BOUNDS, LAST_BUCKET, quantile
from webui_svc.lesson import Load, WorkerLoad, lesson
from webui_svc.speed import Speed, Worker, natural

# Rates and latencies are taken from the reports of these seconds, and each report counts until the next one has come.
WINDOW_S = 5.0
LASTING_INTERVALS = 1.5

# What limits the speed, and which replica is slow, is known once workers have counted for this time. In the first
# second, the batches in flight are still a large part of the work.
MIN_COVERED_S = 1.5

# A replica is slow if its latency in the reports of the last SLOW_WINDOW_S is higher by this factor and by this much
# than that of the fastest third, and for SLOW_HOLD_S after that: one that is frozen again and again runs in between.
SLOW_WINDOW_S = 2.5
SLOW_FACTOR = 2.5
MIN_SLOW_EXCESS_S = 0.005
SLOW_HOLD_S = 3.0

# Replicas of a service that are listed, in the order of their names, and that are remembered.
MAX_LISTED = 16
MAX_KNOWN = 1_000

# A replica that no live worker lists is gone after this time: a worker that has just begun does not see all.
UNSEEN_LIMIT_S = 10.0

# Figures that move with every report are updated once in this time, or always within WINDOW_S of a change.
STEADY_S = 1.0

_AWAY = {ReplicaState.CONNECTING, ReplicaState.GONE}
# Of two workers' views of a replica the first counts: it is ejected if it is for either, and otherwise it is neither
# away nor draining if it serves either.
_PRECEDENCE = [ReplicaState.EJECTED, *ReplicaState]

_USED = {ReplicaState.SERVING, ReplicaState.SLOW}


@dataclass(slots=True)
class _Known:
    """How a replica does, and when a worker saw it last."""

    state: ReplicaState
    address: str
    seen: float
    gone_since: float | None = None
    slow_until: float = 0.0


@dataclass(slots=True)
class _Seen:
    """The statistics of one report of a worker, the seconds that it covers, and how long it counts."""

    until: float
    seconds: float
    replicas: Sequence[ReplicaStats]
    # The replicas that took batches at its end, and whether the report before had others.
    used: frozenset[str]
    is_change: bool


class ReplicaStatistics:
    """One service's replicas, as its live workers see them together."""

    def __init__(self) -> None:
        # By replica, and by worker: its batches per second, and those outstanding.
        self.loads: dict[str, Load] = {}
        self.by_worker: dict[str, tuple[float, float]] = {}
        self._seen: dict[str, list[_Seen]] = {}  # by worker; the last one is kept even if it does not count
        self._known: dict[str, _Known] = {}
        self._clock = 0.0  # of the last call of finalize

    def ingest(
        self,
        worker: str,
        clock: float,
        seconds: float,
        replicas: Sequence[ReplicaStats],
        report_interval_s: float = 1.0,
    ) -> None:
        """Ingest a worker's statistics of some seconds; its next report comes after its report interval.

        It reports at once when it uses other replicas, so what it reports of the time before does not count after that.
        """
        until = clock + max(WINDOW_S, LASTING_INTERVALS * report_interval_s)
        used = frozenset(each.name for each in replicas if each.state in _USED)
        seen = self._seen.setdefault(worker, [])
        is_change = bool(seen) and seen[-1].used != used
        if is_change or (seen and seen[-1].is_change):
            seen.clear()
        seen.append(_Seen(until, seconds, replicas, used, is_change))

    def finalize(self, live: AbstractSet[str], clock: float) -> None:
        """Leave out what is too old, and workers that are gone."""
        self._clock = clock
        self._seen = {
            worker: [each for each in seen if each.until >= clock or each is seen[-1]]
            for worker, seen in self._seen.items()
            if worker in live
        }
        self._update_states(clock)

    def ignore_gap(self, seconds: float) -> None:
        """Ignore a silence of this number of seconds, in which Redis was unavailable."""
        for known in self._known.values():
            known.seen += seconds
            known.gone_since = None if known.gone_since is None else known.gone_since + seconds

    @property
    def states(self) -> list[tuple[str, ReplicaState]]:
        """The listed replicas' names and states, in the order of their names."""
        return [(name, self._known[name].state) for name in sorted(self._known, key=natural)[:MAX_LISTED]]

    def figures(self) -> dict[str, Any]:
        """Return the replicas that are there or just left, with share of requests, batches per second and latencies."""
        batches: Counter[str] = Counter()
        rates: defaultdict[str, float] = defaultdict(float)
        latencies: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.loads = defaultdict(Load)
        self.by_worker = {}
        for worker, seen in self._seen.items():
            counted = [each for each in seen if each.until >= self._clock]
            seconds = max(1e-3, sum(each.seconds for each in counted))
            for replica in itertools.chain.from_iterable(each.replicas for each in counted):
                batches[replica.name] += replica.batches
                rates[replica.name] += replica.batches / seconds
                latencies[replica.name].update(replica.latency)
            self._add_loads(worker, counted, seconds)
        total = batches.total()
        listed = [
            {
                "name": name,
                "address": self._known[name].address,
                "state": state,
                "share": round(batches[name] / total, 4) if total else 0.0,
                "rate": round(rates[name], 3),
                "p50": quantile(latencies[name], 0.5),
                "p99": quantile(latencies[name], 0.99),
                **_load_figures(self.loads.get(name)),
            }
            for name, state in self.states
        ]
        return {"replicas": listed, "more": len(self._known) - len(listed)}

    def _add_loads(self, worker: str, counted: Sequence[_Seen], seconds: float) -> None:
        """Add what one worker has reported of each replica in these seconds."""
        by_name: defaultdict[str, list[ReplicaStats]] = defaultdict(list)
        for replica in itertools.chain.from_iterable(each.replicas for each in counted):
            by_name[replica.name].append(replica)
        rate = queue = 0.0
        for name, stats in by_name.items():
            batches = sum(each.batches for each in stats) / seconds
            outstanding = sum(each.outstanding_s for each in stats) / seconds
            busy = sum(each.busy_s for each in stats) / seconds
            # A worker whose batches always meet others has no other sample than that of its cold start.
            buckets = (index for each in stats for index in each.latency if index < LAST_BUCKET)
            latency_s = min((BUCKET_BOUNDS[index] for index in buckets), default=math.inf)
            self.loads[name].add(batches, busy, outstanding, min(stats[-1].unqueued_s, latency_s))
            rate += batches
            queue += outstanding
        self.by_worker[worker] = rate, queue

    @property
    def used(self) -> list[Load]:
        """The loads of the replicas that take batches."""
        there = [name for name, known in self._known.items() if known.state in _USED]
        return [self.loads.get(name, Load()) for name in there]

    def _update_states(self, clock: float) -> None:
        if not self._seen:
            self._known.clear()
            return
        together: dict[str, ReplicaStats] = {}
        for replica in itertools.chain.from_iterable(seen[-1].replicas for seen in self._seen.values()):
            other = together.get(replica.name)
            if other is None or _PRECEDENCE.index(replica.state) <= _PRECEDENCE.index(other.state):
                together[replica.name] = replica
        for replica in together.values():
            self._update(replica, clock)
        # A worker names a replica by its address until the replica has sent its name.
        named = {known.address for name, known in self._known.items() if name != known.address}
        self._known = {name: known for name, known in self._known.items() if name not in named}
        for name, known in list(self._known.items()):
            if known.gone_since is None and clock - known.seen > UNSEEN_LIMIT_S:
                known.state, known.gone_since = ReplicaState.GONE, clock
            if known.gone_since is not None and clock - known.gone_since > GONE_LISTED_S:
                del self._known[name]
        self._update_slow(clock)

    def _update_slow(self, clock: float) -> None:
        """Compare the latencies of the replicas, by Little's law: outstanding batch-seconds per completed batch.

        Batches without a response count as well, so that a frozen replica is slow before it responds. What one worker
        sees is too little: where many share a replica, a few batches wait for long by chance.
        """
        outstanding_s: defaultdict[str, float] = defaultdict(float)
        batches: Counter[str] = Counter()
        workers: Counter[str] = Counter()
        for seen in self._seen.values():
            totals = list(itertools.accumulate(each.seconds for each in reversed(seen)))
            if totals[-1] < MIN_COVERED_S:
                continue
            workers.update(replica.name for replica in seen[-1].replicas)
            recent = seen[-bisect_left(totals, SLOW_WINDOW_S) - 1 :]
            for replica in itertools.chain.from_iterable(each.replicas for each in recent):
                outstanding_s[replica.name] += replica.outstanding_s
                batches[replica.name] += replica.batches
        serving = {name: known for name, known in self._known.items() if known.state is ReplicaState.SERVING}
        latencies = sorted(outstanding_s[name] / batches[name] for name in serving if batches[name])
        if not latencies:
            return
        typical = latencies[(len(latencies) - 1) // 3]
        for name, known in serving.items():
            # As if each worker had completed half a batch more.
            least_s = (batches[name] + workers[name] / 2) * max(SLOW_FACTOR * typical, typical + MIN_SLOW_EXCESS_S)
            if outstanding_s[name] > least_s:
                known.slow_until = clock + SLOW_HOLD_S
            if clock < known.slow_until:
                known.state = ReplicaState.SLOW

    def _update(self, replica: ReplicaStats, clock: float) -> None:
        known = self._known.get(replica.name)
        if known is None:
            if replica.state is ReplicaState.GONE or len(self._known) >= MAX_KNOWN:
                return
            known = self._known[replica.name] = _Known(replica.state, replica.address, clock)
        known.state, known.address, known.seen = replica.state, replica.address, clock
        if replica.state not in _AWAY:
            known.gone_since = None
        elif known.gone_since is None:
            known.gone_since = clock


def _load_figures(load: Load | None) -> dict[str, float | None]:
    if load is None:
        return dict.fromkeys(("busy", "queue", "service_time"))
    figures = {"busy": load.busy, "queue": load.queue, "service_time": load.service_s}
    return {name: None if value is None else round(value, 6) for name, value in figures.items()}


class Topology:
    """All replicas, and the figures that are shown of them."""

    def __init__(self, redis_name: str, webui_name: str) -> None:
        self.statistics = {service: ReplicaStatistics() for service in SERVICES}
        self.browsers = 0
        self._redis_name = redis_name
        self._webui_name = webui_name
        self._reports: deque[float] = deque()
        self._report_rate = 0.0
        self._replicas: dict[str, Any] = {service: {"replicas": [], "more": 0} for service in (*SERVICES, "worker")}
        # The batches in flight of a worker and the busy part of its event loop, with its last report.
        self._workers: dict[str, tuple[int, float]] = {}
        # Which service limits the speed, for browsers.
        self.lesson: dict[str, Any] = lesson({}, [], 1.0, "")
        self._states: list[Any] = []
        self._changed_at = self._due = 0.0

    def ingest(self, seen: float) -> None:
        """Count a report."""
        self._reports.append(seen)

    def ingest_replicas(self, worker: str, clock: float, seen: ReplicaSnapshot, report_interval_s: float) -> None:
        """Take over what a worker sees; it reports again after its report interval."""
        busy = min(1.0, seen.cpu_s / seen.seconds) if seen.seconds else 0.0
        self._workers[worker] = seen.window, busy
        for service, statistics in self.statistics.items():
            statistics.ingest(worker, clock, seen.seconds, getattr(seen, service), report_interval_s)

    def finalize(self, speed: Speed, now_us: int, clock: float) -> bool:
        """Update the figures once a second, or at once after a replica joined, left or changed its state.

        Return whether they were updated.
        """
        while self._reports and clock - self._reports[0] > WINDOW_S:
            self._reports.popleft()
        live = speed.live(clock)
        for statistics in self.statistics.values():
            statistics.finalize(live.keys(), clock)
        self._workers = {name: load for name, load in self._workers.items() if name in live}
        instances = {worker.report.instance for worker in live.values()}
        recent = speed.live(clock - GONE_LISTED_S)
        workers = {name: each for name, each in recent.items() if each.report.instance not in instances} | live
        listed = sorted(workers, key=lambda name: (natural(workers[name].report.instance), name))
        waits = [(name, name in live, workers[name].report.waits_for) for name in listed[:MAX_LISTED]]
        states = [*(statistics.states for statistics in self.statistics.values()), waits]
        if states != self._states:
            self._states, self._changed_at = states, clock
        elif clock < self._due and clock - self._changed_at > WINDOW_S:
            return False
        self._due = clock + STEADY_S
        self._replicas = {service: statistics.figures() for service, statistics in self.statistics.items()}
        self._replicas["worker"] = {
            "replicas": [
                {
                    "name": workers[name].report.instance,
                    "id": name,
                    "state": "gone" if not is_live else "waiting" if waits_for else "serving",
                    "waits_for": waits_for if is_live else "",
                    "speed": round(workers[name].speed(now_us), 4) if is_live else 0.0,
                    "batch_size": workers[name].report.batch_size,
                    "busy": round(self._workers[name][1], 3) if name in self._workers else None,
                }
                for name, is_live, waits_for in waits
            ],
            "more": len(listed) - len(waits),
        }
        self.lesson = self._lesson(live, now_us)
        self._report_rate = round(len(self._reports) / WINDOW_S, 1)
        return True

    def _lesson(self, live: Mapping[str, Worker], now_us: int) -> dict[str, Any]:
        rates = {
            name: [statistics.by_worker.get(name, (0.0, 0.0)) for statistics in self.statistics.values()]
            for name in live
        }
        workers = [
            WorkerLoad(max(rate for rate, _ in rates[name]), window, sum(queue for _, queue in rates[name]), busy)
            for name in live
            for window, busy in [self._workers.get(name, (0, 0.0))]
        ]
        sizes = {worker.report.batch_size for worker in live.values()}
        rate = sum(worker.rate for worker in workers)
        hashes = sum(worker.speed(now_us) for worker in live.values())
        hashes_per_batch = sizes.pop() if len(sizes) == 1 else hashes / rate if rate else 1.0
        waits_for = {worker.report.waits_for for worker in live.values()}
        stalled = waits_for.pop() if len(waits_for) == 1 else ""
        is_known = bool(live) and fmean(worker.counted_s for worker in live.values()) >= MIN_COVERED_S
        loads = {service: each.used for service, each in self.statistics.items()} if is_known else {}
        found = lesson(loads, workers, hashes_per_batch, stalled)
        replicas = itertools.chain.from_iterable(statistics.states for statistics in self.statistics.values())
        if found["sentence"] and (slow := [name for name, state in replicas if state is ReplicaState.SLOW]):
            found["sentence"] += f" {' and '.join(slow)} {'is' if len(slow) == 1 else 'are'} slow."
        return found

    def figures(self, *, redis: bool) -> dict[str, Any]:
        """Return the figures; while Redis is unavailable, those of before."""
        state, reports = ("serving", self._report_rate) if redis else ("gone", 0.0)
        return {
            **self._replicas,
            "redis": {"name": self._redis_name, "state": state, "reports": reports},
            "webui": {"name": self._webui_name, "browsers": self.browsers},
        }
