"""Structured log lines: one event each, for people or for machines, on standard output."""

import atexit
import logging
import os
import sys
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TextIO, cast

import structlog

from chassis.log_output import LogOutput
from chassis.settings import LogFormat, LogLevel

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

# How long the end of a process waits for a slow reader to take the last lines.
CLOSE_LIMIT_S = 0.2


def configure(level: LogLevel, log_format: LogFormat, stream: TextIO | None = None, **fields: str) -> LogOutput:
    """Send every later event to standard output, or another stream, with these fields in each JSON line.

    Lines for people leave the fields out: a terminal, compose and `make run` already say whose line it is. Colours are
    used on a terminal and where FORCE_COLOR is set (https://force-color.org), never where NO_COLOR is.
    """
    output = LogOutput(sys.stdout if stream is None else stream)
    atexit.register(output.close, CLOSE_LIMIT_S)
    output.on_recovery = lambda lines, cause: get().error("log lines were lost", lines=lines, cause=cause)
    stream = cast("TextIO", output)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*_common(log_format, fields), _renderer(log_format, stream)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: _Lines(output),
        cache_logger_on_first_use=True,
    )
    # Libraries speak through the standard module; only their troubles are of interest.
    foreign = logging.StreamHandler(stream)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_common(log_format, fields)],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(log_format, stream)],
        )
    )
    foreign.addFilter(_is_our_trouble)
    logging.basicConfig(handlers=[foreign], level=max(threshold, logging.WARNING), force=True)
    return output


def get(**fields: str) -> "FilteringBoundLogger":
    """A logger whose events carry these fields."""
    logger: FilteringBoundLogger = structlog.get_logger().bind(**fields)
    return logger


class _Lines:
    """structlog's last link, without the lock of its own: a line may be about the one before, or of a finalizer."""

    def __init__(self, output: LogOutput) -> None:
        self._output = output

    def msg(self, message: str) -> None:
        self._output.write(message + "\n")

    debug = info = warning = error = critical = msg


class ThrottledLogger:
    """Logs an event that may happen often: at most one line in an interval, with the number of occurrences.

    Occurrences after a line are held back. They share the next line, which has the time and the fields of the last one
    of them. log() and flush() write it once the interval has passed, so the owner calls flush() about as often.
    """

    def __init__(
        self,
        event: str,
        interval_s: float = 5.0,
        level: Literal["info", "warning", "error"] = "warning",
        **fields: str,
    ) -> None:
        self.times = 0
        """How often the event has happened."""
        self._fields = fields
        self._level = level
        self._event = event
        self._interval_s = interval_s
        self._lock = threading.RLock()
        self._held_back = 0
        self._last: dict[str, object] = {}
        self._last_at = 0.0
        self._silent_until = 0.0

    def log(self, **fields: object) -> None:
        """Log one occurrence with these fields, or hold it back."""
        with self._lock:
            self.times += 1
            self._held_back += 1
            self._last, self._last_at = fields, time.time()
        self._write(now=time.monotonic(), held_back=False)

    def flush(self) -> None:
        """Log what is held back, if the interval has passed."""
        self._write(now=time.monotonic())

    def close(self) -> None:
        """Log what is held back."""
        self._write(now=float("inf"))

    def clear(self) -> None:
        """Drop what is held back: the event is a condition, which has ended."""
        with self._lock:
            self._held_back = 0

    def _write(self, now: float, *, held_back: bool = True) -> None:
        with self._lock:
            if not self._held_back or now < self._silent_until:
                return
            times, self._held_back = self._held_back, 0
            self._silent_until = time.monotonic() + self._interval_s
            when = {"timestamp": self._last_at} if held_back else {}
            fields = self._last
        # Not bound before, as the log may be configured after this was made.
        getattr(get(**self._fields), self._level)(self._event, **fields, times=times, **when)


_TROUBLES_OF_CLIENTS = ("aiohttp.http_exceptions.", "grpc._cython.cygrpc.ExecuteBatchError")


def _is_our_trouble(record: logging.LogRecord) -> bool:
    """Return whether it is anything but a client that sends no HTTP, or one that is gone before its response.

    aiohttp logs the first in many lines, with what was sent, and gRPC the second with a traceback; the line of its call
    says CANCELLED.
    """
    # By name, for importing aiohttp takes as much CPU as the rest of a start.
    error = type(record.exc_info[1]) if record.exc_info else None
    return error is None or not f"{error.__module__}.{error.__name__}".startswith(_TROUBLES_OF_CLIENTS)


def _common(log_format: LogFormat, fields: dict[str, str]) -> "list[Processor]":
    def add_fields(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**event, **fields}

    if log_format is LogFormat.CONSOLE:
        return [
            structlog.stdlib.add_log_level,
            _add_local_time,
            _in_one_line,
        ]
    return [
        structlog.stdlib.add_log_level,
        _add_utc_time,
        add_fields,
        structlog.processors.format_exc_info,
    ]


def _add_local_time(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["timestamp"] = f"{datetime.fromtimestamp(event.get('timestamp', time.time())):%H:%M:%S}"  # noqa: DTZ006
    return event


def _add_utc_time(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    at = datetime.fromtimestamp(event.get("timestamp", time.time()), UTC)
    event["timestamp"] = at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return event


def _in_one_line(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """What asyncio says of a failure has several; JSON has them in one as it is."""
    return {**event, "event": " ".join(str(event["event"]).splitlines())}


def _renderer(log_format: LogFormat, stream: TextIO) -> "Processor":
    if log_format is LogFormat.JSON:
        return structlog.processors.JSONRenderer(default=str)
    colours = (stream.isatty() or bool(os.environ.get("FORCE_COLOR"))) and not os.environ.get("NO_COLOR")
    return structlog.dev.ConsoleRenderer(
        colors=colours,
        sort_keys=False,
        pad_event_to=0,
        pad_level=True,
        exception_formatter=structlog.dev.plain_traceback,
    )
