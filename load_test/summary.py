"""What the runs of a point say together: medians, so that one disturbed run changes little."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median

from load_test.latency import Quantiles
from load_test.measurement import Measurement


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs."""

    median: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One point over its runs."""

    runs: int
    hashes_per_second: Spread
    batches_per_second: float
    bytes_per_second: float
    """Bytes hashed; as many random bytes went the other way, and again to the hasher."""
    loop_hashes_per_second: float
    of_loop: Spread
    """The speed of each run, of the in-process loop's beside it."""
    of_best: float
    """The speed, of the best point's."""
    latency_seconds: dict[str, Quantiles]
    """By step, and in total: medians of the runs' quantiles, but the largest of all."""
    cpu_seconds_per_million_hashes: dict[str, float]
    """By process, of those that can be seen."""
    errors: dict[str, dict[str, int]]
    """Broken streams and failed calls of all runs, by service and gRPC code."""
    sent_again: int
    """Batches of all runs that were asked once more."""
    not_begun: int
    """Batches of all runs that a rate schedule wanted and that had to wait until time was up."""
    unanswered: int
    """Batches of all runs that nobody had answered when there was no more waiting for them."""


def summarize(runs: Sequence[Measurement], message_size: int, best: float) -> Summary:
    """The runs of a point; the best is the median speed of the fastest one, in hashes/s."""
    speed = _spread([run.hashes_per_second for run in runs])
    processes = dict.fromkeys(name for run in runs for name in run.cpu_seconds)
    errors: dict[str, Counter[str]] = {}
    for run in runs:
        for service, codes in run.errors.items():
            errors.setdefault(service, Counter()).update(codes)
    return Summary(
        runs=len(runs),
        hashes_per_second=speed,
        batches_per_second=median(run.batches / run.seconds if run.seconds else 0.0 for run in runs),
        bytes_per_second=speed.median * message_size,
        loop_hashes_per_second=median(run.loop_hashes_per_second for run in runs),
        of_loop=_spread([run.of_loop for run in runs]),
        of_best=speed.median / best if best else 0.0,
        latency_seconds={name: _latency([run.latency[name] for run in runs]) for name in runs[0].latency},
        cpu_seconds_per_million_hashes={
            name: median(run.cpu_per_million[name] for run in runs if name in run.cpu_seconds) for name in processes
        },
        errors={service: dict(codes) for service, codes in errors.items()},
        sent_again=sum(run.sent_again for run in runs),
        not_begun=sum(run.not_begun for run in runs),
        unanswered=sum(run.unanswered for run in runs),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def _latency(runs: Sequence[Quantiles]) -> Quantiles:
    medians = {each.name: median(getattr(run, each.name) for run in runs) for each in fields(Quantiles)}
    return Quantiles(**{**medians, "max": max(run.max for run in runs)})
