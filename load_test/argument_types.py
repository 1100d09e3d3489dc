"""Types of command-line arguments: they accept what a setting accepts, and an error says what is allowed."""

import argparse
import re
from collections.abc import Callable
from typing import Any

from chassis import settings
from chassis.settings import Field, Word
from worker_svc.settings import WorkerSettings

Type = Callable[[str], Any]


def argument(field: Field) -> Type:
    """Accept what this field of settings reads; its default and meaning are not used."""

    def convert(text: str) -> object:
        try:
            return field.read(text.strip())
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be {field.allowed}") from None

    return convert


def whole(minimum: int, maximum: int, unit: str) -> Type:
    """Accept a whole number."""
    return argument(settings.whole(None, minimum, maximum, unit, ""))


def number(minimum: float, maximum: float, unit: str = "seconds") -> Type:
    """Accept a finite number."""
    return argument(settings.number(None, minimum, maximum, unit, ""))


def seconds(minimum: float, maximum: float) -> Type:
    """Accept a number of seconds, or a duration such as 90s, 500ms or 2m."""
    units = {"ms": 1e-3, "s": 1.0, "m": 60.0}

    def read(text: str) -> float:
        matched = re.fullmatch(r"(.+?)(ms|s|m)", text)
        value = float(matched[1]) * units[matched[2]] if matched else float(text)
        if not minimum <= value <= maximum:
            raise ValueError
        return value

    return argument(settings.field(None, read, f"from {minimum:g} to {maximum:g} seconds, such as 10, 10s or 2m", ""))


def word(default: Word) -> Type:
    """Accept a word of the enumeration that has this one."""
    return argument(settings.one_of(default, ""))


def listed(convert: Type) -> Type:
    """Accept values with commas between them; repeated values count once."""
    return lambda text: tuple(dict.fromkeys(convert(each) for each in text.split(",")))


def setting(name: str, unit: str) -> Type:
    """Accept a list of whole numbers that this setting of the worker allows."""
    minimum, maximum = map(int, WorkerSettings.fields[name].bounds)
    return listed(whole(minimum, maximum, unit))
