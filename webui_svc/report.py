import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from chassis.settings import Pace
from chassis.stored import MAX_REPORT_INTERVAL

KEPT = 900
"""Seconds of reports that the stream holds, and that are shown by the second."""

_MAX_NUMBER = 2**53
"""The largest number that a browser counts exactly."""

_MAX_DIGITS = 16
NAME = re.compile(rb"[\x21-\x7e]{1,128}")
"""Of a worker."""

WAITED_FOR = ("", "rng", "hasher")

_PACES = {pace.value.encode(): pace for pace in Pace}


class MalformedReportError(Exception):
    """An entry of the stream is no report; whoever wrote it must mend it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker did in one interval. Times are microseconds, on the worker's clock unless said otherwise."""

    worker: str
    instance: str
    sequence: int
    hashes: int
    coins: int
    begin_us: int
    end_us: int
    batch_size: int
    pace: Pace
    report_interval_us: int
    """The time after which the worker is to report again."""
    sent_us: int
    """When the report was sent, in the attempt that counted."""
    redis_us: int
    """When it was counted, on Redis's clock."""
    stalled_since_us: int = 0
    """When the last batch was counted, in a report without one; otherwise 0."""
    waits_for: str = ""
    """The service that does not answer, in a report without a batch; empty where none stands out."""


def parse(fields: Mapping[bytes, bytes], written_ms: int) -> Report:
    """Return the report in the fields of an entry whose id says that it was written at `written_ms` or before.

    Raises MalformedReportError for a field that is missing or holds what is not allowed.
    """
    begin_us, end_us, sent_us = (_number(fields, name) for name in (b"begin_us", b"end_us", b"sent_us"))
    if not begin_us <= end_us <= sent_us:
        raise MalformedReportError(f"end_us: {end_us} is not between begin_us, {begin_us}, and sent_us, {sent_us}")
    redis_us = _number(fields, b"redis_us")
    if redis_us // 1_000 > written_ms:
        raise MalformedReportError(f"redis_us: {redis_us} is later than the entry's id, {written_ms} ms")
    waits_for = _field(fields, b"waits_for").decode(errors="replace")
    if waits_for not in WAITED_FOR:
        raise MalformedReportError(f"waits_for: {_shown(fields[b'waits_for'])} is not rng, hasher or empty")
    interval_us = _number(fields, b"report_interval_us")
    if interval_us > MAX_REPORT_INTERVAL * 1_000_000:
        raise MalformedReportError(f"report_interval_us: {interval_us} is more than {MAX_REPORT_INTERVAL} s")
    pace = _PACES.get(_field(fields, b"pace"))
    if pace is None:
        raise MalformedReportError(f"pace: {_shown(fields[b'pace'])} is not {' or '.join(Pace)}")
    return Report(
        worker=_name(fields, b"worker"),
        instance=_name(fields, b"instance"),
        sequence=_number(fields, b"sequence"),
        hashes=_number(fields, b"hashes"),
        coins=_number(fields, b"coins"),
        begin_us=begin_us,
        end_us=end_us,
        batch_size=_number(fields, b"batch_size"),
        pace=pace,
        report_interval_us=interval_us,
        sent_us=sent_us,
        redis_us=redis_us,
        stalled_since_us=_number(fields, b"stalled_since_us"),
        waits_for=waits_for,
    )


def _field(fields: Mapping[bytes, bytes], field: bytes) -> bytes:
    value = fields.get(field)
    if value is None:
        raise MalformedReportError(f"{field.decode()}: missing")
    return value


def _number(fields: Mapping[bytes, bytes], field: bytes) -> int:
    value = _field(fields, field)
    number = int(value) if value.isdigit() and len(value) <= _MAX_DIGITS else None
    if number is None or number > _MAX_NUMBER:
        raise MalformedReportError(f"{field.decode()}: {_shown(value)} is not a whole number from 0 to {_MAX_NUMBER}")
    return number


def _name(fields: Mapping[bytes, bytes], field: bytes) -> str:
    value = _field(fields, field)
    name = _known_name(value)
    if name is None:
        raise MalformedReportError(f"{field.decode()}: {_shown(value)} is not 1 to 128 ASCII characters")
    return name


@lru_cache(4_096)  # the same workers report again and again, and their names are then held once
def _known_name(value: bytes) -> str | None:
    return value.decode() if NAME.fullmatch(value) else None


def _shown(value: bytes) -> str:
    return ascii(value[:40].decode(errors="replace"))
