"""JSON that a worker left in Redis: whatever stands there, reading it has one way to fail."""

import json
import math
import re
from typing import Any, NoReturn

_NAME = re.compile(r"[\x21-\x7e]{1,128}")


class MalformedJsonError(Exception):
    """A key of Redis holds no such JSON; whoever wrote it must mend it. The message is one line."""


def parse(raw: bytes, most_bytes: int) -> Any:
    """What the JSON says. Raises MalformedJsonError for what is none, holds no finite number or is too long."""
    if len(raw) > most_bytes:
        raise MalformedJsonError(f"{len(raw)} bytes are more than {most_bytes}")
    try:
        return json.loads(raw, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise MalformedJsonError(f"no JSON ({type(error).__name__})") from None


def member(data: Any, name: str) -> Any:
    """A member of an object. Raises MalformedJsonError when there is none."""
    if not isinstance(data, dict) or name not in data:
        raise MalformedJsonError(f"{name}: missing")
    return data[name]


def whole(data: Any, name: str, most: int) -> int:
    """A member that is a whole number from 0. Raises MalformedJsonError when it is not."""
    value = member(data, name)
    if type(value) is not int or not 0 <= value <= most:
        raise MalformedJsonError(f"{name}: {_shown(value)} is not a whole number from 0 to {most}")
    return value


def number(data: Any, name: str, most: float) -> float:
    """A member that is a number from 0. Raises MalformedJsonError when it is not."""
    value = member(data, name)
    if type(value) not in {int, float} or not 0 <= value <= most:
        raise MalformedJsonError(f"{name}: {_shown(value)} is not a number from 0 to {most:g}")
    return float(value)


def text(data: Any, name: str, pattern: re.Pattern[str] = _NAME) -> str:
    """A member that is text of this pattern, or 1 to 128 ASCII characters. Raises MalformedJsonError when it is not."""
    value = member(data, name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise MalformedJsonError(f"{name}: {_shown(value)} does not match {pattern.pattern}")
    return value


def array(data: Any, name: str, most: int) -> list[Any]:
    """A member that is a list. Raises MalformedJsonError when it is not, or too long."""
    value = member(data, name)
    if not isinstance(value, list) or len(value) > most:
        raise MalformedJsonError(f"{name}: {_shown(value)} is no list of at most {most}")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(digits[:40])
    return value


def _shown(value: object) -> str:
    return ascii(value)[:40]
