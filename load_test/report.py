"""A load test's report, and its form in JSON.

    format, version   "dockercoins-load-test", 2
    began             when, in ISO 8601, UTC
    complete          false when it was interrupted or a service failed
    problem           why, in one line; empty when it is complete
    machine           cores, memory, processor, system; load before, and steal time and throttling meanwhile
    versions          of Python, grpcio and the others
    conditions        duration, requests, warm_up, repeat, rate (as given), targets (named), started (by it), notes
    points            one each, in the order of the sweep:
      point             mode, batch_size, window, message_size, rate
      summary           the fields of Summary: medians over the runs
      runs              the fields of Measurement, one each, in the order of measuring; not in what is published

Rates are per second, latencies and CPU times in seconds; fields are added but never renamed within a version.
"""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from chassis.settings import Word
from load_test import UsageError
from load_test.machine import quietness
from load_test.measurement import TOTAL, Measurement, Quantiles

FORMAT = "dockercoins-load-test"
VERSION = 2


class Mode(Word):
    """How batches are sent: on a pool's streams, as the worker does, or in a unary call for each step."""

    STREAM = "stream"
    # As the worker does, but with one batch in each message.
    UNCOALESCED = "uncoalesced"
    UNARY = "unary"


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of the options that a load test varies."""

    mode: Mode
    batch_size: int
    window: int
    message_size: int
    # The rate schedule as it was given, empty for as fast as possible.
    rate: str

    def __str__(self) -> str:
        return f"{self.mode}, batch {self.batch_size}, window {self.window}, message {self.message_size}"


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs."""

    median: float
    min: float
    max: float

    @property
    def percent(self) -> str:
        """The minimum and the maximum relative to the median, such as `-1.0 to +2.0`; empty where that is 0."""
        return " to ".join(f"{100 * (end / self.median - 1):+.1f}" for end in (self.min, self.max) if self.median)


@dataclass(frozen=True, slots=True)
class Summary:
    """A point over its runs: medians, so that one disturbed run changes little, and sums of what went wrong."""

    runs: int
    hashes_per_second: Spread
    batches_per_second: float
    # Bytes hashed; the random bytes take the same bandwidth twice, from rng and to hasher.
    bytes_per_second: float
    baseline_hashes_per_second: float
    vs_baseline: Spread
    # The speed over that of the fastest point.
    vs_best: float
    # By stage, and in total; the maximum is that of all runs.
    latency_seconds: dict[str, Quantiles]
    # By process, of those on this machine.
    cpu_seconds_per_million_hashes: dict[str, float]
    # Of all runs: see Measurement.
    errors: dict[str, dict[str, int]]
    resent: int
    not_begun: int
    unanswered: int
    # Of streams, on average.
    batches_per_message: float = 1.0
    # From when a batch was due until it was sent, with a rate.
    lateness_seconds: Quantiles | None = None


@dataclass(frozen=True)
class Result:
    """A point and its runs."""

    point: Point
    runs: Sequence[Measurement]
    summary: Summary

    @property
    def batches(self) -> int:
        """The batches of all runs."""
        return sum(run.batches for run in self.runs)

    @property
    def errors(self) -> int:
        """Broken streams, failed calls and batches without a response, over all runs."""
        return self.summary.unanswered + sum(sum(codes.values()) for codes in self.summary.errors.values())

    @property
    def error_part(self) -> float:
        """The errors as a part of all batches and errors."""
        return self.errors / (self.errors + self.batches) if self.errors else 0.0


@dataclass(frozen=True)
class Report:
    """The results of a load test and their circumstances."""

    began: str
    problem: str
    machine: dict[str, Any]
    versions: dict[str, str]
    conditions: dict[str, Any]
    points: Sequence[Result]

    @property
    def best(self) -> Result:
        """The fastest point."""
        return max(self.points, key=lambda result: result.summary.hashes_per_second.median)

    @property
    def summary(self) -> dict[str, str]:
        """The report in five lines, by what they are about."""
        best, total = self.best.summary, self.best.summary.latency_seconds[TOTAL]
        speed = best.hashes_per_second
        noise = f"; {best.runs} runs, {speed.percent} %" if best.runs > 1 and speed.percent else ""
        late = best.lateness_seconds
        batches, errors = (sum(getattr(result, name) for result in self.points) for name in ("batches", "errors"))
        return {
            "Speed": f"{speed.median:,.0f} hashes/s with {self.best.point}{noise}",
            "Latency": f"p50 {milliseconds(total.p50)} ms, p99 {milliseconds(total.p99)} ms, max "
            f"{milliseconds(total.max)} ms of a batch there"
            + (f"; sent late: p99.9 {milliseconds(late.p999)} ms" if late else ""),
            "Baseline": f"vs. baseline {best.vs_baseline.median:.2f} ×: the same work in one process without a network",
            "Errors": f"{errors:,} in {batches:,} batches ({100 * errors / max(batches + errors, 1):.2f} %)",
            "Machine": quietness(self.machine)[1],
        }

    def to_json(self) -> str:
        """Return the report in the form above."""
        return json.dumps(self.document(), indent=1) + "\n"

    def document(self, *, runs: bool = True) -> dict[str, Any]:
        """Return the report in the form above, with or without the runs of its points."""
        document = {"format": FORMAT, "version": VERSION, "complete": not self.problem, **asdict(self)}
        for result, each in zip(self.points, document["points"], strict=True):
            for run, its_fields in zip(result.runs, each["runs"], strict=True):
                its_fields.update(hashes_per_second=run.hashes_per_second, vs_baseline=run.vs_baseline)
            if not runs:
                del each["runs"]
        return document


def results(runs: dict[Point, list[Measurement]]) -> list[Result]:
    """Return the results of the points that have any runs."""
    measured = {point: each for point, each in runs.items() if each}
    best = max((median(run.hashes_per_second for run in each) for each in measured.values()), default=0.0)
    return [Result(point, each, _summarize(each, point.message_size, best)) for point, each in measured.items()]


def _summarize(runs: Sequence[Measurement], message_size: int, best: float) -> Summary:
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
        baseline_hashes_per_second=median(run.baseline_hashes_per_second for run in runs),
        vs_baseline=_spread([run.vs_baseline for run in runs]),
        vs_best=speed.median / best if best else 0.0,
        latency_seconds={name: _latency([run.latency[name] for run in runs]) for name in runs[0].latency},
        cpu_seconds_per_million_hashes={
            name: median(run.cpu_per_million[name] for run in runs if name in run.cpu_seconds) for name in processes
        },
        errors={service: dict(codes) for service, codes in errors.items()},
        resent=sum(run.resent for run in runs),
        not_begun=sum(run.not_begun for run in runs),
        unanswered=sum(run.unanswered for run in runs),
        batches_per_message=median(run.batches_per_message for run in runs),
        lateness_seconds=_latency(late) if (late := [run.lateness for run in runs if run.lateness]) else None,
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def _latency(runs: Sequence[Quantiles]) -> Quantiles:
    medians = {each.name: median(getattr(run, each.name) for run in runs) for each in fields(Quantiles)}
    return Quantiles(**{**medians, "max": max(run.max for run in runs)})


def milliseconds(seconds: float) -> str:
    """Return a latency with two decimals, or none for long ones."""
    return f"{1e3 * seconds:,.2f}" if seconds < 0.1 else f"{1e3 * seconds:,.0f}"


def load(option: str, path: Path, points: Collection[Point] = ()) -> Report:
    """Return a report that was written as JSON, and that this option names.

    Raises UsageError when the file holds none, or has none of these points.
    """
    try:
        document = msgspec.json.decode(path.read_bytes())
        if (document["format"], document["version"]) != (FORMAT, VERSION):
            raise UsageError(f"{option} {path}: it is no {FORMAT} of version {VERSION}")
        report = msgspec.convert(document, Report)
    except OSError as error:
        raise UsageError(f"{option} {path}: it can't be read ({error.strerror})") from None
    except (TypeError, KeyError, msgspec.MsgspecError) as error:
        raise UsageError(f"{option} {path}: it is no report in JSON ({error})") from None
    if points and not {result.point for result in report.points} & set(points):
        raise UsageError(f"{option} {path}: it has none of the points to measure")
    return report
