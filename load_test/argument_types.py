"""Types of command-line arguments; an error names the value and what is allowed."""

import argparse
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar, cast

from worker_svc.settings import WorkerSettings

Value = TypeVar("Value")
Word = TypeVar("Word", bound=StrEnum)


def number(
    read: Callable[[str], Value], minimum: float, maximum: float, kind: str, unit: str
) -> Callable[[str], Value]:
    """Accept a number within bounds, both included; `read` is int or float."""
    allowed = f"{kind} from {minimum} to {maximum}" + (f" ({unit})" if unit else "")

    def bounded(text: str) -> Value:
        value: Any = read(text)
        if minimum <= value <= maximum:
            return cast("Value", value)
        raise ValueError

    return checked(bounded, allowed)


def whole(minimum: int, maximum: int, unit: str = "") -> Callable[[str], int]:
    """Accept a whole number."""
    return number(int, minimum, maximum, "a whole number", unit)


def seconds(minimum: float, maximum: float) -> Callable[[str], float]:
    """Accept a time in seconds."""
    return number(float, minimum, maximum, "a number", "seconds")


def word(kind: type[Word]) -> Callable[[str], Word]:
    """Accept a value of an enumeration."""
    return checked(kind, " or ".join(kind))


def listed(read: Callable[[str], Value]) -> Callable[[str], tuple[Value, ...]]:
    """Accept values with commas between them; repeated values count once."""
    return lambda text: tuple(dict.fromkeys(read(each) for each in text.split(",")))


def setting(name: str, unit: str) -> Callable[[str], tuple[int, ...]]:
    """Accept a list of whole numbers that this setting of the worker allows."""
    minimum, maximum = map(int, WorkerSettings.fields[name].bounds)
    return listed(whole(minimum, maximum, unit))


def checked(read: Callable[[str], Value], allowed: str = "") -> Callable[[str], Value]:
    """Accept what `read` accepts. Where `allowed` is empty, its ValueError says what is allowed."""

    def convert(text: str) -> Value:
        try:
            return read(text.strip())
        except ValueError as error:
            must = f"it must be {allowed}" if allowed else error
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed: {must}") from None

    return convert
