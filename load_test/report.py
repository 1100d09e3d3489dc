"""A load test's report, and its form in JSON.

    format, version   "dockercoins-load-test", 1
    began             when, in ISO 8601, UTC
    complete          false when it was interrupted or a service failed
    problem           why, in one line; empty when it is complete
    machine           cores, memory, processor, system, load before; what could be found out
    versions          of Python, grpcio and the others
    conditions        duration, warm_up, repeat, rate (as given), targets (those named), started (by it), remarks
    points            one each, in the order of the sweep:
      point             mode, batch_size, window, message_size, rate
      summary           the fields of Summary: medians over the runs
      runs              the fields of Measurement, one each, in the order of measuring; not in what is published

Rates are a second, latencies and CPU times in seconds; fields are added but never renamed within a version.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from load_test.errors import UsageError
from load_test.latency import Quantiles
from load_test.measurement import Measurement
from load_test.point import Mode, Point
from load_test.summary import Summary, summarize

FORMAT = "dockercoins-load-test"
VERSION = 1


@dataclass(frozen=True)
class Result:
    """A point and its runs."""

    point: Point
    runs: Sequence[Measurement]
    summary: Summary


@dataclass(frozen=True)
class Report:
    """All that is known when a load test has ended."""

    began: str
    problem: str
    machine: dict[str, Any]
    versions: dict[str, str]
    conditions: dict[str, Any]
    results: Sequence[Result] = field(default_factory=tuple)

    @property
    def headline(self) -> str:
        """The fastest point, in a sentence."""
        result = max(self.results, key=lambda result: result.summary.hashes_per_second.median)
        return (
            f"Fastest: {result.summary.hashes_per_second.median:,.0f} hashes/s ({result.point}), "
            f"{result.summary.of_loop.median:.2f} of one process that does the same with no network."
        )

    def to_json(self) -> str:
        """See above."""
        return json.dumps(self.document(), indent=1) + "\n"

    def document(self, *, runs: bool = True) -> dict[str, Any]:
        """See above; without the runs of its points, if so wanted."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "began": self.began,
            "complete": not self.problem,
            "problem": self.problem,
            "machine": self.machine,
            "versions": self.versions,
            "conditions": self.conditions,
            "points": [
                {
                    "point": asdict(result.point),
                    "summary": asdict(result.summary),
                    **({"runs": [_run(run) for run in result.runs]} if runs else {}),
                }
                for result in self.results
            ],
        }


def _run(run: Measurement) -> dict[str, Any]:
    return {**asdict(run), "hashes_per_second": run.hashes_per_second, "of_loop": run.of_loop}


def results(runs: dict[Point, list[Measurement]]) -> list[Result]:
    """What the runs of each point say, of those that have any."""
    measured = {point: each for point, each in runs.items() if each}
    speeds = {point: summarize(each, point.message_size, 0).hashes_per_second for point, each in measured.items()}
    best = max((speed.median for speed in speeds.values()), default=0.0)
    return [Result(point, each, summarize(each, point.message_size, best)) for point, each in measured.items()]


def load(path: Path) -> Report:
    """A report that was written as JSON. Raises UsageError when the file holds none."""
    try:
        data = json.loads(path.read_text())
        runs = {_point(each["point"]): [_measurement(run) for run in each["runs"]] for each in data["points"]}
        known = {name: data[name] for name in ("began", "problem", "machine", "versions", "conditions")}
    except OSError as error:
        raise UsageError(f"--compare {path}: it can't be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"--compare {path}: it is no report in JSON ({type(error).__name__}: {error})") from None
    if (data.get("format"), data.get("version")) != (FORMAT, VERSION):
        raise UsageError(f"--compare {path}: it is no {FORMAT} of version {VERSION}")
    return Report(**known, results=results(runs))


def _point(data: dict[str, Any]) -> Point:
    return Point(**{**data, "mode": Mode(data["mode"])})


def _measurement(data: dict[str, Any]) -> Measurement:
    known = {name: data[name] for name in Measurement.__dataclass_fields__}
    latency = {name: Quantiles(**quantiles) for name, quantiles in data["latency"].items()}
    return Measurement(**{**known, "latency": latency})
