"""What others than this project's code report, as lines of the log: Python, asyncio, gRPC's core, standard error.

gRPC's core has no hook for its lines (1.85): it writes them to descriptor 2, with the reasons of failed TLS handshakes
among them, which are nowhere else. So that descriptor becomes a pipe, and what comes out of it is sorted:

- Errors of gRPC's core are lines of the log, throttled; the rest of its lines is not for users. With GRPC_VERBOSITY or
  GRPC_TRACE in the environment the user wants to see them, and gets all of them.
- Anything else goes where it was to go or, where each line must be JSON, to the log.

The pipe never blocks: gRPC writes to it while Python's interpreter lock is held, which the reader needs. What is in it
when the process is killed is lost.
"""

import asyncio
import contextlib
import errno
import faulthandler
import fcntl
import logging
import os
import re
import select
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from chassis import log
from chassis.log import ThrottledLogger
from chassis.log_output import LogOutput
from chassis.settings import LogFormat

STANDARD_ERROR = 2

# Lines of gRPC's core go to this logger's handlers, if there are any.
GRPC_CORE = "grpc.core"

PIPE_BYTES = 256 * 1024
MAX_LINE_BYTES = 64 * 1024
JOIN_LIMIT_S = 0.2
FLUSH_INTERVAL_S = 5.0

# Places in gRPC's source that have a throttle of their own; the others share one.
MAX_SOURCES = 16
OTHERS = "others"

_CORE_LINE = re.compile(r"(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ (?P<source>\S+?:\d+)\] (?P<message>.*)")
# What may follow such a line: where in gRPC's source an error came by.
_CORE_TRACE = re.compile(r"=== Source Location Trace: ===\s*|(?:src|external|third_party|include)/\S+:\d+|")
_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)
_OUT_OF_FILES_IN_CORE = re.compile("(?i)descriptor limit reached|too many open files")


class ForeignLog:
    """Logs what others report."""

    def __init__(self, log_format: LogFormat, original: int | None = None, *, core_wanted: bool = False) -> None:
        """Log for a process whose standard error was this descriptor, and all of gRPC's lines where they are wanted."""
        self._original = original
        self._ends_process = False
        self._json = log_format is LogFormat.JSON
        self._core_wanted = core_wanted
        self._core = logging.getLogger(GRPC_CORE)
        self._core.setLevel(logging.DEBUG)
        self._core.propagate = False
        self._core.addHandler(logging.NullHandler())
        self._out_of_files = ThrottledLogger("out of file descriptors", level="error")
        self._sources: dict[str, ThrottledLogger] = {}
        self._in_core_line = False

    def install_hooks(self) -> None:
        """Log warnings of Python and the exceptions that nothing handles; the process ends when the context is left."""
        self._ends_process = True
        if self._original is not None:
            faulthandler.enable(os.dup(self._original))
        logging.captureWarnings(capture=True)
        sys.excepthook = _log_exception
        sys.unraisablehook = _log_unraisable
        threading.excepthook = _log_exception_of_thread

    def handle_loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what an event loop reports; asyncio itself reports hundreds of failed accept() calls a second."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _OUT_OF_FILES:
            self._out_of_files.log(cause=error.strerror)
        elif not (isinstance(error, ValueError) and "_start_serving" in context["message"]):
            # Out of descriptors, asyncio accepts again a second later, be the listener closed by then (CPython 3.11).
            loop.default_exception_handler(context)

    def add_line(self, line: bytes) -> bool:
        """Log a line of standard error, and return True unless it should go on to standard error."""
        text = line.decode(errors="replace")
        core_line = _CORE_LINE.fullmatch(text)
        if core_line is None:
            if self._in_core_line and not self._core_wanted and _CORE_TRACE.fullmatch(text):
                return True
            self._in_core_line = False
            if self._json:
                log.get().warning(text, logger="stderr")
            return self._json
        self._in_core_line = True
        level = _LEVELS[core_line["level"]]
        self._core.log(level, "%s", text)
        if self._core_wanted or level == logging.CRITICAL:
            if self._json:
                log.get().log(level, core_line["message"], logger=GRPC_CORE, source=core_line["source"])
            return self._json
        if level == logging.ERROR:
            self._log_error(**core_line.groupdict())
        return True

    def _log_error(self, source: str, message: str, **_: str) -> None:
        if _OUT_OF_FILES_IN_CORE.search(message):
            self._out_of_files.log(cause=os.strerror(errno.EMFILE))
            return
        if source not in self._sources and len(self._sources) >= MAX_SOURCES:
            source = OTHERS
        if source not in self._sources:
            self._sources[source] = ThrottledLogger("error in gRPC", level="error", source=source)
        self._sources[source].log(message=message)

    def flush(self) -> None:
        """Log what has been held back for long enough."""
        for line in self._throttled():
            line.flush()

    def close(self) -> None:
        """Log what is held back."""
        for line in self._throttled():
            line.close()

    def _throttled(self) -> list[ThrottledLogger]:
        return [self._out_of_files, *self._sources.values()]

    def release(self, original: int) -> None:
        """Make standard error what it was; in a process that ends nothing, unless gRPC's lines are wanted as they are.

        Its core goes on writing while the interpreter ends, when nothing here reads that any more.
        """
        if self._ends_process and (self._json or not self._core_wanted):
            original = os.open(os.devnull, os.O_WRONLY)
        os.dup2(original, STANDARD_ERROR)  # which closes the pipe's only other end


@contextlib.contextmanager
def capture(log_format: LogFormat, *, python_too: bool = True) -> Iterator[ForeignLog]:
    """Capture this process's standard error until the context is left; what Python writes there, only if `python_too`.

    Nothing is captured where standard error is closed.
    """
    python = sys.stderr
    if python is None:
        with contextlib.closing(ForeignLog(log_format)) as foreign:
            yield foreign
        return
    original = os.dup(STANDARD_ERROR)
    wanted = any(os.environ.get(name) for name in ("GRPC_VERBOSITY", "GRPC_TRACE"))
    foreign = ForeignLog(log_format, original, core_wanted=wanted)
    # The descriptor stays open, for a slow reader may not have taken all lines at the end.
    output = LogOutput(original)
    reader = threading.Thread(target=_read, args=(_pipe(), output, foreign), name="standard error", daemon=True)
    reader.start()
    try:
        if python_too:
            yield foreign
        else:
            with os.fdopen(os.dup(original), "w", 1, errors="backslashreplace") as sys.stderr:
                yield foreign
    finally:
        sys.stderr = python
        foreign.release(original)
        reader.join(JOIN_LIMIT_S)
        output.close(log.CLOSE_LIMIT_S)
        foreign.close()


def _pipe() -> int:
    """Make standard error a pipe, and return the end to read from."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(OSError, AttributeError):  # Linux alone has it, and bounds it for each user
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.dup2(writing, STANDARD_ERROR)
    os.close(writing)
    return reading


def _read(reading: int, output: LogOutput, foreign: ForeignLog) -> None:
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    with open(reading, "rb", buffering=0) as pipe:
        rest = b""
        while True:
            foreign.flush()
            if not poll.poll(FLUSH_INTERVAL_S * 1_000):
                continue
            if not (chunk := pipe.read(MAX_LINE_BYTES)):
                break
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) >= MAX_LINE_BYTES:
                lines.append(rest)
                rest = b""
            for line in lines:
                if not foreign.add_line(line):
                    output.write(line + b"\n")
        if rest and not foreign.add_line(rest):
            output.write(rest)


def _log_exception(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    log.get().error("unhandled exception", exc_info=(kind, error, traceback))


def _log_exception_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        thread = args.thread.name if args.thread else ""
        info = (args.exc_type, args.exc_value, args.exc_traceback)
        log.get().error("unhandled exception in a thread", thread=thread, exc_info=info)


def _log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    info = (args.exc_type, args.exc_value, args.exc_traceback)
    log.get().error(args.err_msg or "exception ignored", object=repr(args.object), exc_info=info)
