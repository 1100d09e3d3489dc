from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """A value and the most that it may be."""

    name: str
    """With the unit."""
    value: float
    most: float
    noise: float = 0.0
    """By how much the value may well be wrong."""

    @property
    def held(self) -> bool:
        """Whether the value is within the bound, or beyond it by no more than noise."""
        return self.value - self.noise <= self.most

    @property
    def verdict(self) -> str:
        """In words."""
        if self.value <= self.most:
            return "held"
        return "beyond, but by no more than noise" if self.held else "NOT HELD"

    def __str__(self) -> str:
        noise = f"+-{self.noise:.3f}" if self.noise else ""
        return f"{self.name:<58} {self.value:>7.3f} {noise:<8} bound {self.most:<5g} {self.verdict}"
