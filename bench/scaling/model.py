"""Hashes a second of a system, computed: the slowest of what could limit it.

In batches a second:

- workers:  batches in flight / the time that one takes when nobody waits
- a step:   replicas x requests served at once / delay                  (where there is a delay)
- a node:   usable cores / CPU seconds of a batch that are spent on it   (those of each replica by its part of all)
- a process: 1 core / CPU seconds of a batch / its part of all batches
- a network: bytes a second that go into or out of a node / those of a batch whose other end is on another node

CPU seconds of a batch are a + b x hashes, for each service (`Cost`), and each process takes some CPU for itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

SERVICES = ("rng", "hasher", "worker")

MESSAGE_SIZE = 32
"""Bytes; a digest has as many."""

SENT = {"rng": 1, "hasher": 1, "worker": 1}
RECEIVED = {"rng": 0, "hasher": 1, "worker": 2}
"""Messages or digests of a hash, by service: rng's random bytes, the same to hasher, and its digests back."""


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one service."""

    batch: float
    """A batch, whatever is in it."""
    hash: float
    """A hash more."""

    def of(self, batch_size: int) -> float:
        """A batch of so many hashes."""
        return self.batch + self.hash * batch_size


def fitted(measured: Mapping[int, float]) -> Cost:
    """The cost that is nearest to CPU seconds a batch measured at several batch sizes, in relative terms.

    Raises ValueError for fewer than two sizes.
    """
    if len(measured) < 2:
        raise ValueError(f"a cost is fitted to two batch sizes or more, not to {sorted(measured)}")
    # Least squares of (a + b x) / y - 1, which is a plane's normal equations in a and b.
    rows = [(1 / seconds, size / seconds) for size, seconds in measured.items()]
    aa, ab, bb = (sum(row[i] * row[j] for row in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    a, b = (sum(row[i] for row in rows) for i in (0, 1))
    determinant = aa * bb - ab * ab
    return Cost(batch=(a * bb - b * ab) / determinant, hash=(b * aa - a * ab) / determinant)


@dataclass(frozen=True)
class Costs:
    """What a machine does, as measured there."""

    services: Mapping[str, Cost]
    usable: float = 1.0
    """Part of a node's cores that is used when it is the limit; all of it on one core."""
    way: float = 0.0
    """Seconds of a batch beyond all delays, when nobody waits."""
    process: Mapping[str, float] = field(default_factory=dict)
    """Cores that a process of a service takes by itself: streams renewed, reports, health."""


@dataclass(frozen=True)
class Node:
    """One machine, or a part of one."""

    cores: float
    rng: int = 0
    """Processes of it."""
    hasher: int = 0
    worker: int = 0
    times: int = 1
    """How many such nodes there are."""
    network: float = inf
    """Bytes a second that go into it, and as many out."""

    def processes(self, service: str) -> int:
        """How many of a service are on it."""
        return {"rng": self.rng, "hasher": self.hasher, "worker": self.worker}[service]


@dataclass(frozen=True)
class Pace:
    """What is waited for on purpose. Seconds, and requests served at once by one replica (0: unlimited)."""

    worker_delay: float = 0.0
    rng_delay: float = 0.0
    rng_concurrency: int = 0
    hasher_delay: float = 0.0
    hasher_concurrency: int = 0


CLASSIC = Pace(0.1, 0.1, 1, 0.1, 0)
"""The workshop's."""


@dataclass(frozen=True)
class System:
    """What is to be predicted."""

    nodes: Sequence[Node]
    batch_size: int = 1
    window: int = 1
    """Batches that a worker has in flight."""
    pace: Pace = Pace()

    def replicas(self, service: str) -> int:
        """On all nodes together."""
        return sum(node.times * node.processes(service) for node in self.nodes)


@dataclass(frozen=True)
class Prediction:
    """Hashes a second, and what keeps them from being more."""

    speed: float
    limit: str


def predict(system: System, costs: Costs) -> Prediction:
    """What a system does. Raises ValueError for one that lacks a service."""
    if missing := [service for service in SERVICES if not system.replicas(service)]:
        raise ValueError(f"a system needs one of each at least; there is no {' and no '.join(missing)}")
    limits = {**_paced(system, costs), **_worked(system, costs), **_carried(system)}
    limit = min(limits, key=lambda name: limits[name])
    return Prediction(limits[limit] * system.batch_size, limit)


def _paced(system: System, costs: Costs) -> dict[str, float]:
    """Batches a second, by what is waited for."""
    pace = system.pace
    alone = pace.worker_delay + pace.rng_delay + pace.hasher_delay + costs.way
    limits = {}
    if alone > 0:
        limits["batches in flight"] = system.replicas("worker") * system.window / alone
    for service, delay, at_once in (
        ("rng", pace.rng_delay, pace.rng_concurrency),
        ("hasher", pace.hasher_delay, pace.hasher_concurrency),
    ):
        if delay and at_once:
            limits[f"turns at {service}"] = system.replicas(service) * at_once / delay
    return limits


def _worked(system: System, costs: Costs) -> dict[str, float]:
    """Batches a second, by whose CPU is used up."""
    # Of all batches, each replica has an equal part of its service's.
    parts = {
        service: costs.services[service].of(system.batch_size) / system.replicas(service)
        for service in SERVICES
        if service in costs.services
    }
    limits = {
        f"one core a {service}": (1 - costs.process.get(service, 0.0)) / part for service, part in parts.items() if part
    }
    for node in system.nodes:
        spent = sum(node.processes(service) * part for service, part in parts.items())
        by_themselves = sum(node.processes(service) * costs.process.get(service, 0.0) for service in SERVICES)
        usable = node.cores * (costs.usable if node.cores > 1 else 1.0) - by_themselves
        if spent:
            name = "a node's cores"
            limits[name] = min(limits.get(name, inf), max(usable, 0.0) / spent)
    return limits


def _carried(system: System) -> dict[str, float]:
    """Batches a second, by whose network is used up."""
    # Everybody asks everybody alike, those on the same node too.
    remote = 1 - 1 / sum(node.times for node in system.nodes)
    carried = []
    for node in system.nodes:
        parts = {service: node.processes(service) / system.replicas(service) for service in SERVICES}
        most = max(sum(parts[service] * way[service] for service in SERVICES) for way in (SENT, RECEIVED))
        if most and remote:
            carried.append(node.network / (most * remote * system.batch_size * MESSAGE_SIZE))
    return {"a node's network": min(carried, default=inf)}
