"""Conditions that every point must meet, such as `p99<50ms` or `errors<0.1%`: what --fail takes."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from load_test.measurement import QUANTILES, TOTAL
from load_test.report import Result

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TIMES = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def _latency(quantile: str, result: Result) -> float:
    return float(getattr(result.summary.latency_seconds[TOTAL], quantile))


# What is judged: its units with their factors, and its value.
_QUANTITIES: Mapping[str, tuple[Mapping[str, float], Callable[[Result], float]]] = {
    **{name: (_TIMES, partial(_latency, field)) for name, field in QUANTILES.items()},
    "errors": ({"%": 0.01}, lambda result: result.error_part),
    "speed": ({"": 1.0, "k": 1e3, "M": 1e6}, lambda result: result.summary.hashes_per_second.median),
}

ALLOWED = (
    f"one of {', '.join(_QUANTITIES)}, then {', '.join(_OPERATORS)}, then a value with its unit: us, ms or s for a "
    "latency, % for errors, none (hashes/s), k or M for the speed"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A bound of a figure."""

    text: str
    quantity: str
    compare: Callable[[float, float], bool]
    bound: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read a condition. Raises ValueError."""
        matched = re.fullmatch(r"(\S+?)\s*([<>]=?)\s*([0-9.]+)\s*(\S*)", text)
        if matched is None:
            raise ValueError
        quantity, compare, bound, unit = matched.groups()
        if quantity not in _QUANTITIES or unit not in _QUANTITIES[quantity][0]:
            raise ValueError
        return cls(text, quantity, _OPERATORS[compare], float(bound), unit)

    def failures(self, results: Sequence[Result]) -> list[str]:
        """Return a line for each point that does not meet it."""
        units, value = _QUANTITIES[self.quantity]
        figures = [(value(result) / units[self.unit], result.point) for result in results]
        return [
            f"--fail {self.text}: {figure:,.4g}{' ' if self.unit else ''}{self.unit} at {point}"
            for figure, point in figures
            if not self.compare(figure, self.bound)
        ]
