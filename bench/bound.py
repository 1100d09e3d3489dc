from dataclasses import dataclass

LARGEST_NOISE = 0.2
"""Part of the limit: with more, nothing can be told."""


@dataclass(frozen=True)
class Bound:
    """A value and how far it may go; AtMost and AtLeast say which way."""

    name: str
    """With the unit."""
    value: float
    limit: float
    noise: float = 0.0
    """By how much the value may well be wrong."""

    sign = ""

    @property
    def beyond(self) -> float:
        """By how much the value is on the wrong side; negative on the right one."""
        raise NotImplementedError

    @property
    def held(self) -> bool:
        """Whether the value is within the bound, or beyond it by no more than noise, which must be small itself."""
        return self.beyond <= 0 or self.beyond <= self.noise <= LARGEST_NOISE * self.limit

    @property
    def verdict(self) -> str:
        """In words."""
        if self.beyond <= 0:
            return "held"
        if self.held:
            return "beyond, but by no more than noise"
        return "TOO NOISY TO TELL" if self.beyond <= self.noise else "NOT HELD"

    def __str__(self) -> str:
        noise = f"+-{self.noise:.3f}" if self.noise else ""
        return f"{self.name:<58} {self.value:>7.3f} {noise:<8} bound {self.sign} {self.limit:<5g} {self.verdict}"


@dataclass(frozen=True)
class AtMost(Bound):
    """More than the limit is wrong."""

    sign = "<="

    @property
    def beyond(self) -> float:
        """By how much the value is on the wrong side; negative on the right one."""
        return self.value - self.limit


@dataclass(frozen=True)
class AtLeast(Bound):
    """Less than the limit is wrong."""

    sign = ">="

    @property
    def beyond(self) -> float:
        """By how much the value is on the wrong side; negative on the right one."""
        return self.limit - self.value
