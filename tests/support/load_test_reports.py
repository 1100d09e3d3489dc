from dataclasses import replace
from typing import Any

from load_test.measurement import Measurement, Quantiles
from load_test.report import Mode, Point, Report, results


def point(batch_size: int = 256, **changes: Any) -> Point:
    return replace(Point(Mode.STREAM, batch_size, 8, 32, ""), **changes)


def measurement(
    speed: float = 1_000.0,
    p99: float = 0.009,
    unavailable: int = 0,
    resent: int = 0,
    baseline: float = 2_000.0,
    **more: Any,
) -> Measurement:
    """Make one of a second."""
    quantiles = Quantiles(0.005, 0.007, p99, 2 * p99, 3 * p99)
    return Measurement(
        seconds=1.0,
        hashes=int(speed),
        batches=int(speed) // 256,
        baseline_hashes_per_second=baseline,
        latency={"rng": quantiles, "hasher": quantiles, "total": quantiles},
        cpu_seconds={"load-test": 0.5, "rng": 0.25},
        errors={"rng": {"UNAVAILABLE": unavailable}} if unavailable else {},
        resent=resent,
        not_begun=0,
        unanswered=0,
        **more,
    )


def report(runs: dict[Point, list[Measurement]], **changes: Any) -> Report:
    made = Report(
        began="2026-01-02T03:04:05+00:00",
        problem="",
        machine={"processor": "a <fast> one", "cores": 2, "memory_gib": 4.0, "system": "Linux", "load_before": 0.1},
        versions={"Python": "3.13.0"},
        conditions={"duration": 1.0, "repeat": 2, "targets": {"rng": "dns:///rng:50051"}, "notes": []},
        points=results(runs),
    )
    return replace(made, **changes)
