"""Conditions that every point must meet, such as `p99<50ms` or `errors<0.1%`: what --fail takes."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from load_test.measurement import TOTAL


class Judged(Protocol):
    """A point and its figures. The module of reports needs this one, so its Result is not named here."""

    @property
    def point(self) -> object:
        """The point, which names itself."""

    @property
    def summary(self) -> Any:
        """The figures of its runs."""

    @property
    def error_part(self) -> float:
        """The errors as a part of all batches and errors."""


_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TIMES = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def _latency(quantile: str, result: Judged) -> float:
    return float(getattr(result.summary.latency_seconds[TOTAL], quantile))


# What is judged: its units with their factors, and its value.
_QUANTITIES: Mapping[str, tuple[Mapping[str, float], Callable[[Judged], float]]] = {
    **{name: (_TIMES, partial(_latency, name.replace(".", ""))) for name in ("p50", "p90", "p99", "p99.9", "max")},
    "errors": ({"%": 0.01}, lambda result: result.error_part),
    "speed": ({"": 1.0, "k": 1e3, "M": 1e6}, lambda result: result.summary.hashes_per_second.median),
}

ALLOWED = (
    f"one of {', '.join(_QUANTITIES)}, then {', '.join(_OPERATORS)}, then a value with its unit: us, ms or s for a "
    "latency, % for errors, none (hashes/s), k or M for the speed"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A bound of a figure, in seconds, hashes/s or a part of 1."""

    text: str
    quantity: str
    compare: Callable[[float, float], bool]
    bound: float
    # The unit of the bound and its factor.
    unit: tuple[str, float]

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read a condition. Raises ValueError."""
        matched = re.fullmatch(r"(\S+?)\s*([<>]=?)\s*([0-9.]+)\s*(\S*)", text)
        if matched is None:
            raise ValueError
        quantity, compare, number, unit = matched.groups()
        units, _ = _QUANTITIES.get(quantity, ({}, None))
        if unit not in units:
            raise ValueError
        return cls(text, quantity, _OPERATORS[compare], float(number) * units[unit], (unit, units[unit]))

    def failures(self, results: Sequence[Judged]) -> list[str]:
        """Return a line for each point that does not meet it."""
        _, value = _QUANTITIES[self.quantity]
        unit, factor = self.unit
        return [
            f"--fail {self.text}: {value(result) / factor:,.4g} {unit}".rstrip() + f" at {result.point}"
            for result in results
            if not self.compare(value(result), self.bound)
        ]
