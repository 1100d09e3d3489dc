"""Structured log lines: one event each, for people or for machines, on standard output.

An event that is a sentence with figures in it has them again in `figures`, which become fields of a JSON line.
"""

import asyncio
import atexit
import errno
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

import structlog
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis.settings import LogFormat, LogLevel

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor

STANDARD_OUTPUT = 1

MAX_WAITING_BYTES = 1024 * 1024

# How long the end of a process waits for a slow reader to take the last lines.
CLOSE_LIMIT_S = 0.2

# How long a descriptor that does not block, and has no room, is left alone.
FULL_PAUSE_S = 0.05

_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)
_CLIENT_ERRORS = ("aiohttp.http_exceptions.", "grpc._cython.cygrpc.ExecuteBatchError")


def configure(level: LogLevel, log_format: LogFormat, descriptor: int = STANDARD_OUTPUT, **fields: str) -> "LogOutput":
    """Send every later event to standard output, or another descriptor, with these fields in each JSON line.

    Lines for people leave the fields out: a terminal, compose and `make run` already show the source of a line.
    """
    output = LogOutput(descriptor)
    atexit.register(output.close, CLOSE_LIMIT_S)
    output.on_recovery = lambda lines, cause: get().error("log lines were lost", lines=lines, cause=cause)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    processors, renderer = _processors(log_format, fields), _renderer(log_format, descriptor)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=True,
    )
    # Libraries use the standard module; only their warnings and errors are of interest.
    libraries = logging.StreamHandler(cast("TextIO", output))
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *processors],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    libraries.addFilter(_is_our_error)
    logging.basicConfig(handlers=[libraries], level=max(threshold, logging.WARNING), force=True)
    return output


def wants_colours(descriptor: int) -> bool:
    """Return whether lines have colours: on a terminal or with FORCE_COLOR (force-color.org), never with NO_COLOR."""
    return (os.isatty(descriptor) or bool(os.environ.get("FORCE_COLOR"))) and not os.environ.get("NO_COLOR")


def get(**fields: str) -> "FilteringBoundLogger":
    """Return a logger whose events carry these fields."""
    logger: FilteringBoundLogger = structlog.get_logger().bind(**fields)
    return logger


def install_hooks() -> None:
    """Log Python's warnings, and the exceptions that nothing handles."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_exception
    sys.unraisablehook = _log_unraisable
    threading.excepthook = _log_exception_of_thread


class LogOutput(Collector):
    """Writes lines to a descriptor in a thread, so that no reader can stop a service, nor raise an error in it.

    The descriptor may be closed, full, broken or unread. Lines wait in memory up to a limit; those beyond it, and those
    that can't be written, are lost and counted.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Called after a line was written, with the number of lines that were lost until then, and the cause.
        self.on_recovery: Callable[[int, str], None] = lambda _, __: None
        # Called for each write that failed.
        self.on_error: Callable[[OSError], None] = lambda _: None
        # Both are reentrant: garbage collection inside may log a failure of __del__.
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._lock = threading.RLock()
        self._accepted_bytes = 0
        self._done_bytes = 0
        self._lost = 0
        self._announced = 0
        self._cause = ""
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, text: str) -> None:
        """Have a line written, or lose it."""
        line = text.encode(errors="backslashreplace")
        with self._lock:
            if self._accepted_bytes - self._done_bytes + len(line) > MAX_WAITING_BYTES:
                self._lose(line.count(b"\n"), "nothing reads them")
            else:
                self._accepted_bytes += len(line)
                self._queue.put(line)

    def msg(self, event: str) -> None:
        """Write an event of structlog."""
        self.write(event + "\n")

    debug = info = warning = error = critical = msg

    def close(self, limit_s: float) -> None:
        """Wait until all lines are written, for some seconds at most."""
        end = time.monotonic() + limit_s
        while self._done_bytes < self._accepted_bytes and time.monotonic() < end:
            time.sleep(0.001)

    def collect(self) -> Iterator[Metric]:
        """Yield the number of lost lines."""
        yield CounterMetricFamily("dockercoins_log_lost_lines", "Log lines that could not be written", self._lost)

    def _run(self) -> None:
        torn = b""
        while True:
            waiting = [self._queue.get()]
            # Together, as each write waits for the interpreter's lock afterwards.
            while not self._queue.empty():
                waiting.append(self._queue.get())
            lines = b"".join(waiting)
            rest = data = torn + lines
            try:
                while rest:
                    rest = rest[self._write_some(rest) :]
                torn = b""
            except OSError as error:
                self._lose(min(rest.count(b"\n"), lines.count(b"\n")), str(error.strerror))
                self.on_error(error)
                if written := data[: len(data) - len(rest)]:
                    # A line of which only a part was written must not run into the next one.
                    torn = b"" if written.endswith(b"\n") else b"\n"
            else:
                if self._lost > self._announced and self._queue.empty():
                    self._announced = self._lost
                    self.on_recovery(self._lost, self._cause)
            self._done_bytes += len(lines)

    def _write_some(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            time.sleep(FULL_PAUSE_S)
            return 0

    def _lose(self, lines: int, cause: str) -> None:
        with self._lock:
            self._lost += lines
            self._cause = cause


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
        # How often the event has happened.
        self.times = 0
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
        self.hold_back(**fields)
        self._write(now=time.monotonic(), held_back=False)

    def hold_back(self, **fields: object) -> None:
        """Hold one occurrence back until flush(), so that those that come together share a line."""
        with self._lock:
            self.times += 1
            self._held_back += 1
            self._last, self._last_at = fields, time.time()

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


def handle_loop_exception(
    out_of_files: ThrottledLogger, loop: asyncio.AbstractEventLoop, context: dict[str, Any]
) -> None:
    """Log what an event loop reports; asyncio itself logs hundreds of failed accept() calls a second."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in _OUT_OF_FILES:
        out_of_files.log(cause=error.strerror)
    elif not (isinstance(error, ValueError) and "_start_serving" in context["message"]):
        # Out of descriptors, asyncio accepts again a second later, even if the listener is closed by then (CPython
        # 3.11).
        loop.default_exception_handler(context)


def _log_exception(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    get().error("unhandled exception", exc_info=(kind, error, traceback))


def _log_exception_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        thread = args.thread.name if args.thread else ""
        info = (args.exc_type, args.exc_value, args.exc_traceback)
        get().error("unhandled exception in a thread", thread=thread, exc_info=info)


def _log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    info = (args.exc_type, args.exc_value, args.exc_traceback)
    get().error(args.err_msg or "exception ignored", object=repr(args.object), exc_info=info)


def _is_our_error(record: logging.LogRecord) -> bool:
    """Return whether it is anything but a client that sends no HTTP, or one that is gone before its response.

    aiohttp logs the first in many lines, with what was sent, and gRPC the second with a traceback; the line of its call
    says CANCELLED.
    """
    # By name, for importing aiohttp takes as much CPU as the rest of a start.
    error = type(record.exc_info[1]) if record.exc_info else None
    return error is None or not f"{error.__module__}.{error.__name__}".startswith(_CLIENT_ERRORS)


def _processors(log_format: LogFormat, fields: dict[str, str]) -> "list[Processor]":
    json = log_format is LogFormat.JSON
    zone, pattern = (UTC, "%Y-%m-%dT%H:%M:%S.%fZ") if json else (None, "%H:%M:%S")

    def complete(_: object, __: str, event: "EventDict") -> "EventDict":
        at = datetime.fromtimestamp(event.get("timestamp", time.time()), zone)
        event["timestamp"] = at.strftime(pattern)
        figures = event.pop("figures", {})
        if json:
            return {**event, **figures, **fields}
        if event.get("times") == 1:
            del event["times"]
        event["event"] = " ".join(str(event["event"]).splitlines())
        return event

    return [structlog.stdlib.add_log_level, complete, *([structlog.processors.format_exc_info] if json else [])]


def _renderer(log_format: LogFormat, descriptor: int) -> "Processor":
    if log_format is LogFormat.JSON:
        return structlog.processors.JSONRenderer(default=str)
    return structlog.dev.ConsoleRenderer(
        colors=wants_colours(descriptor),
        sort_keys=False,
        pad_event_to=0,
        pad_level=True,
        exception_formatter=structlog.dev.plain_traceback,
    )
