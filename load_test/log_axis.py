import math
from collections.abc import Iterable

FEW_DECADES = 2.5
"""Decades up to which an axis is also marked at 2 and 5."""


class LogAxis:
    """Where values lie on a logarithmic axis, in pixels."""

    def __init__(self, values: Iterable[float], begin: float, end: float, margin: float) -> None:
        """An axis from pixel to pixel that holds all values, with a factor of margin on both sides."""
        known = list(values) or [1.0]
        self.low, self.high = min(known) / margin, max(known) * margin
        self._begin = begin
        self._length = end - begin

    def position(self, value: float) -> float:
        """The pixel of a value."""
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self._begin + part * self._length, 1)

    def ticks(self) -> list[float]:
        """Round values worth a line."""
        decades = math.log10(self.high / self.low)
        factors = (1, 2, 5) if decades < FEW_DECADES else (1,)
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [factor * 10.0**power for power in powers for factor in factors]
        return [value for value in values if self.low <= value <= self.high]
