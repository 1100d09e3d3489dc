"""What the words of the command line may be; each says what is allowed when one is not."""

import argparse
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from load_test.schedule import Rate
from worker_svc.settings import WorkerSettings

Value = TypeVar("Value")
Word = TypeVar("Word", bound=StrEnum)


def whole(minimum: int, maximum: int, unit: str = "") -> Callable[[str], int]:
    """A whole number."""
    return _bounded(int, minimum, maximum, "a whole number", unit)


def wholes(minimum: int, maximum: int, unit: str) -> Callable[[str], tuple[int, ...]]:
    """A list of whole numbers."""
    return _list(whole(minimum, maximum, unit))


def seconds(minimum: float, maximum: float) -> Callable[[str], float]:
    """A time."""
    return _bounded(float, minimum, maximum, "a number", "seconds")


def part(text: str) -> float:
    """A ratio."""
    return _bounded(float, 0, 1_000, "a ratio", "0.9 is nine tenths")(text)


def setting(name: str, unit: str) -> Callable[[str], tuple[int, ...]]:
    """A list of the numbers that the worker's setting of this name may be."""
    minimum, maximum = map(int, WorkerSettings.fields[name].bounds)
    return wholes(minimum, maximum, unit)


def word(kind: type[Word]) -> Callable[[str], Word]:
    """One of an enumeration's words."""
    return _read(kind, lambda _: True, " or ".join(kind))


def words(kind: type[Word]) -> Callable[[str], tuple[Word, ...]]:
    """A list of an enumeration's words."""
    return _list(word(kind))


def rate(text: str) -> Rate:
    """A rate schedule."""
    try:
        return Rate.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: {error}") from None


def _bounded(read: Callable[[str], Value], minimum: Any, maximum: Any, kind: str, unit: str) -> Callable[[str], Value]:
    allowed = f"{kind} from {minimum} to {maximum}" + (f" ({unit})" if unit else "")
    return _read(read, lambda value: bool(minimum <= value <= maximum), allowed)


def _read(read: Callable[[str], Value], fits: Callable[[Any], bool], allowed: str) -> Callable[[str], Value]:
    def checked(text: str) -> Value:
        try:
            value = read(text.strip())
        except ValueError:
            pass
        else:
            if fits(value):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be {allowed}")

    return checked


def _list(read: Callable[[str], Value]) -> Callable[[str], tuple[Value, ...]]:
    """Values with commas between them; the same one twice is one."""
    return lambda text: tuple(dict.fromkeys(read(each) for each in text.split(",")))
