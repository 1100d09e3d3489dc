"""The curves of a report: speed and latency over the batch size."""

from collections.abc import Sequence

from load_test.chart import REFERENCE, Chart, Dot, Line
from load_test.grid import varied
from load_test.recorder import TOTAL
from load_test.report import Result


def charts(results: Sequence[Result]) -> list[Chart]:
    """Speed, then latency."""
    series = _series(results)
    speed = [Line(name, number, [_speed(each) for each in members]) for number, (name, members) in enumerate(series)]
    latency = [
        Line(f"{name}, {quantile}", number, [_latency(each, quantile) for each in members], dashed=quantile == "p99")
        for number, (name, members) in enumerate(series)
        for quantile in ("p50", "p99")
    ]
    return [
        Chart("speed", "Speed over batch size", "hashes/s", [*speed, *_references(results)], _short),
        Chart("latency", "Latency of a batch over its size", "p50 and p99", latency, _time),
    ]


def _series(results: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """Points that differ in nothing but the batch size, by what tells them apart."""
    columns = varied(results)
    series: dict[str, list[Result]] = {}
    for result in results:
        name = ", ".join(show(result) if header == "mode" else f"{header} {show(result)}" for header, show in columns)
        series.setdefault(name or "pipeline", []).append(result)
    return list(series.items())


def _references(results: Sequence[Result]) -> list[Line]:
    """The in-process loop, once for each size of message."""
    sizes = sorted({each.point.message_size for each in results})
    lines = []
    for size in sizes:
        name = "one process, no network" + (f", message {size:,}" if len(sizes) > 1 else "")
        speeds = {
            each.point.batch_size: each.summary.loop_hashes_per_second
            for each in results
            if each.point.message_size == size
        }
        dots = [Dot(batch, speed, f"{name}, batch {batch:,}: {speed:,.0f} hashes/s") for batch, speed in speeds.items()]
        lines.append(Line(name, REFERENCE, dots, dashed=True))
    return lines


def _speed(result: Result) -> Dot:
    speed = result.summary.hashes_per_second
    tip = f"batch {result.point.batch_size:,}: {speed.median:,.0f} hashes/s, {speed.min:,.0f} to {speed.max:,.0f}"
    if result.summary.runs == 1:
        return Dot(result.point.batch_size, speed.median, tip)
    return Dot(result.point.batch_size, speed.median, tip, speed.min, speed.max)


def _latency(result: Result, quantile: str) -> Dot:
    value: float = getattr(result.summary.latency_seconds[TOTAL], quantile)
    tip = f"batch {result.point.batch_size:,}: {quantile} {1e3 * value:,.3g} ms"
    return Dot(result.point.batch_size, value, tip)


def _short(value: float) -> str:
    for power, letter in ((1e6, " M"), (1e3, " k")):
        if value >= power:
            return f"{value / power:g}{letter}"
    return f"{value:g}"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:g} s"
    return f"{1e3 * seconds:g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:g} µs"
