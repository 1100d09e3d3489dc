"""Which service limits the speed, and which speed is to be expected.

The laws are those of operational analysis (Lazowska, Zahorjan, Graham and Sevcik, "Quantitative System Performance",
1984, chapters 3 and 5). Workers report, per replica, completed batches, the time with a batch outstanding, and the time
of all outstanding batches added up, from which follow

- the queue, by Little's law: outstanding batch-seconds per second, which add up over workers;
- the utilisation: at least the largest part of the time in which one worker had a batch outstanding, at most the sum of
  these parts, and in between the throughput times the latency of a batch that met no other one;
- the capacity: throughput / utilisation. A replica that is always busy and keeps batches waiting does what it can;
- the waiting batches: the queue less those in service.

The speed can't exceed the capacity of any service, nor what the workers could do if no batch ever waited: a window of
batches per worker, each of which takes the worker's own time and the service times.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

# Batches wait if there are more than this in the queue.
WAITING_BATCHES = 0.1

# A replica that is known to have more than this in service works on several batches at a time.
SERIAL = 1.1

# It then keeps none waiting if its queue exceeds those in service by no more than this part: on a busy machine,
# latencies are that much longer than the least one.
LATENCY_JITTER = 0.5

# The workers' CPU is the limit if it allows no more than the services' capacity divided by this: what a busy worker
# measures of others includes its own lag.
CPU_BOUND = 0.9

TIMES = "\N{MULTIPLICATION SIGN}"

# Capacities within this factor are equal: then the service limits for which batches wait.
EQUAL = 1.05


@dataclass(slots=True)
class Load:
    """What one replica does for all workers, or for one of them: per second, in seconds."""

    # Completed batches per second.
    rate: float = 0.0
    # Parts of the time with a batch outstanding: the largest of a worker, and the sum.
    largest_busy: float = 0.0
    total_busy: float = 0.0
    # Outstanding batches on average.
    queue: float = 0.0
    # The least latency of a batch that met no other; None if unknown.
    unqueued_s: float | None = None

    def add(self, rate: float, busy: float, queue: float, unqueued_s: float) -> None:
        """Add what another worker reports."""
        self.rate += rate
        self.largest_busy = max(self.largest_busy, busy)
        self.total_busy += busy
        self.queue += queue
        if unqueued_s:
            self.unqueued_s = min(self.unqueued_s or unqueued_s, unqueued_s)

    @property
    def busy(self) -> float:
        """The utilisation, 0 to 1."""
        most = min(1.0, self.total_busy)
        estimate = most if self.unqueued_s is None else self.rate * self.unqueued_s
        return min(1.0, max(self.largest_busy, min(estimate, most)))

    @property
    def in_service(self) -> float:
        """Batches in service on average, more than one if the replica works on several at a time."""
        return max(self.busy, min(self.queue, self.rate * (self.unqueued_s or 0.0)))

    @property
    def waiting(self) -> float:
        """Batches that wait on average."""
        return max(0.0, self.queue - self.in_service)

    @property
    def has_free_slots(self) -> bool:
        """Whether it works on several batches at a time and keeps none waiting."""
        return self.in_service > SERIAL and self.queue <= (1 + LATENCY_JITTER) * self.in_service

    @property
    def capacity(self) -> float | None:
        """Batches per second at most; None if unknown, without a batch or with free slots."""
        return None if not self.rate or not self.busy or self.has_free_slots else self.rate / self.busy

    @property
    def service_s(self) -> float | None:
        """Seconds per batch; None without a batch."""
        if not self.rate:
            return None
        return (self.in_service if self.has_free_slots else self.busy) / self.rate


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """What one worker does: batches per second, batches in flight, and the busy part of its event loop."""

    rate: float
    window: int
    # Batches outstanding at all replicas on average.
    queue: float
    busy: float


def lesson(
    loads: Mapping[str, Sequence[Load]], workers: Sequence[WorkerLoad], hashes_per_batch: float, waits_for: str
) -> dict[str, Any]:
    """Return what browsers get: the limit, why, the speed that is to be expected, and a sentence.

    `loads` are those of the replicas in use, by service, or nothing as long as they are not known. `waits_for` is the
    service that all workers wait for.
    """
    found: dict[str, Any] = {"limit": None, "reason": None, "predicted": None, "sentence": "", "capacities": {}}
    if waits_for:
        sentence = f"No batch is counted: {_many(len(workers), 'worker')} wait{_s(workers)} for {waits_for}."
        return found | {"limit": waits_for, "reason": "stalled", "predicted": 0.0, "sentence": sentence}
    waiting = {name: sum(each.waiting for each in replicas) for name, replicas in loads.items()}
    in_flight, cpu = _workers_capacities(loads, workers)
    batches = {name: _service_capacity(replicas) for name, replicas in loads.items()} | {"worker": min(in_flight, cpu)}
    capacities = {name: each and each * hashes_per_batch for name, each in batches.items()}
    known = {name: capacity for name, capacity in capacities.items() if capacity}
    if not loads or "worker" not in known:
        return found
    most = min(known.values()) * EQUAL
    close = [name for name in loads if known.get(name, 2 * most) <= most and waiting[name] > WAITING_BATCHES]
    cpu_bound = cpu * hashes_per_batch * CPU_BOUND <= min(known.values())
    limit = "worker" if cpu_bound else max(close, key=lambda name: waiting[name], default="worker")
    predicted = known[limit]
    found |= {"limit": limit, "predicted": round(predicted, 4)}
    found["capacities"] = {name: each and round(each, 4) for name, each in capacities.items()}
    if limit in loads:
        sentence = _about_service(limit, loads[limit], workers, hashes_per_batch, predicted)
        return found | {"reason": "capacity", "sentence": sentence}
    others = " and ".join(
        f"{name} {_percent(fmean(each.busy for each in loads[name]))}" for name in loads if loads[name]
    )
    count = _many(len(workers), "worker")
    if cpu_bound:
        busy = _percent(fmean(worker.busy for worker in workers))
        sentence = f"The workers' CPU is the limit: {count}, busy {busy} of the time; {others}."
        return found | {"reason": "cpu", "sentence": sentence}
    window = sum(worker.window for worker in workers)
    sentence = (
        f"The number of workers is the limit: {count}, {_many(round(window / len(workers)), 'batch')} in flight each, "
        f"{_duration(window / in_flight)} per batch = {_speed(predicted)}; busy: {others}."
    )
    return found | {"reason": "in_flight", "sentence": sentence}


def _service_capacity(replicas: Sequence[Load]) -> float | None:
    """Return the batches per second of all replicas; one without a batch can do as much as the others."""
    capacities = [each.capacity for each in replicas if each.rate]
    known = [each for each in capacities if each is not None]
    return None if not known or len(known) < len(capacities) else fmean(known) * len(replicas)


def _workers_capacities(loads: Mapping[str, Sequence[Load]], workers: Iterable[WorkerLoad]) -> tuple[float, float]:
    """Return the batches per second of all workers if no batch ever waited, and those that their CPU allows."""
    services_s = sum(_mean_service_s(replicas) for replicas in loads.values())
    in_flight = cpu = 0.0
    for worker in workers:
        if worker.rate:
            own_s = max(0.0, worker.window - worker.queue) / worker.rate
            in_flight += worker.window / max(own_s + services_s, 1e-9)
            cpu += worker.rate / max(worker.busy, 1e-9)
    return in_flight, cpu


def _mean_service_s(replicas: Sequence[Load]) -> float:
    rate = sum(each.rate for each in replicas)
    seconds = sum(each.rate * (each.unqueued_s or each.service_s or 0.0) for each in replicas)
    return seconds / rate if rate else 0.0


def _about_service(
    name: str, replicas: Sequence[Load], workers: Sequence[WorkerLoad], hashes_per_batch: float, predicted: float
) -> str:
    batch = f" per batch of {hashes_per_batch:,.0f}" if hashes_per_batch >= 1.5 else ""
    seconds = len(replicas) * hashes_per_batch / predicted
    window = sum(worker.window for worker in workers)
    what = "batches" if window > len(workers) else "worker" if len(workers) == 1 else "workers"
    waiting = round(sum(each.waiting for each in replicas))
    verb = "is" if waiting == 1 else "are"
    product = f"{_many(len(replicas), 'replica')} {TIMES} {_duration(seconds)}{batch} = {_speed(predicted)}"
    sentence = f"{name} is the limit: {product}"
    return f"{sentence}; {waiting} of {window} {what} {verb} waiting for it." if waiting else f"{sentence}."


def _many(count: int, noun: str) -> str:
    plural = "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{'' if count == 1 else plural}"


def _s(workers: Sequence[WorkerLoad]) -> str:
    return "s" if len(workers) == 1 else ""


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def _speed(hashes: float) -> str:
    return f"{hashes:,.0f}/s" if hashes >= 999.5 else f"{hashes:.3g}/s"


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{1_000 * seconds:.3g} ms"
