"""What gRPC's core writes to standard error, as lines of the log.

The core has no hook for its lines (1.85), and the reasons of failed TLS handshakes are nowhere else. So the descriptor
becomes a pipe, and a thread sorts its lines. The core's errors and failed handshakes are logged, throttled; the rest is
not for users, unless GRPC_VERBOSITY or GRPC_TRACE is set, which passes on all of it. Lines that are not the core's are
always passed on: to the original standard error or, where each line must be JSON, to the log.

The pipe never blocks: gRPC writes to it while Python's interpreter lock is held, which the thread needs.
"""

import contextlib
import errno
import logging
import os
import re
import select
import threading
from collections.abc import Iterator
from typing import Literal

from chassis import log
from chassis.log import ThrottledLogger
from chassis.settings import LogFormat

STANDARD_ERROR = 2

READ_BYTES = 64 * 1024
FLUSH_INTERVAL_S = 5.0

# Events that have lines of their own; the others share one.
MAX_EVENTS = 64

# Characters of a handshake's reason, of which a client may choose a part.
MAX_REASON = 160

_CORE_LINE = re.compile(r"(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ (?P<source>\S+?:\d+)\] (?P<message>.*)")
# What may follow such a line: the places in gRPC's source that an error has passed.
_CORE_TRACE = re.compile(r"=== Source Location Trace: ===\s*|(?:src|external|third_party|include)/\S+:\d+|")
_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
_OUT_OF_FILES = re.compile("(?i)descriptor limit reached|too many open files")
# The core adds "Invalid certificate verification context" where there was no certificate to verify.
_HANDSHAKE = re.compile(
    r"Handshake failed with error (?:SSL_ERROR_SSL: )?(?:error:\w+:SSL routines:OPENSSL_internal:)?(?P<reason>.+?)"
    r"(?:: Invalid certificate verification context)?"
    r"|No match found for server name: (?P<name>.+)"
)


@contextlib.contextmanager
def capture(log_format: LogFormat, *, ends_process: bool = False) -> Iterator[ThrottledLogger]:
    """Sort what is written to standard error, and yield what logs a lack of file descriptors, wherever it shows.

    Standard error is then what it was before or, if the process ends, nothing: the core writes on in the meantime.
    """
    original = os.dup(STANDARD_ERROR)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.dup2(writing, STANDARD_ERROR)
    os.close(writing)
    sorter = _Sorter(log_format, original)
    thread = threading.Thread(target=sorter.run, args=(reading,), daemon=True)
    thread.start()
    try:
        yield sorter.out_of_files
    finally:
        # This closes the last descriptor of the pipe's writing end, so the thread ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY) if ends_process else original, STANDARD_ERROR)
        thread.join(log.CLOSE_LIMIT_S)
        for throttled in sorter.throttled.values():
            throttled.close()


class _Sorter:
    def __init__(self, log_format: LogFormat, original: int) -> None:
        self._json = log_format is LogFormat.JSON
        self._original = original
        self._verbose = any(os.environ.get(name) for name in ("GRPC_VERBOSITY", "GRPC_TRACE"))
        self.out_of_files = ThrottledLogger("out of file descriptors", level="error")
        # By what makes an event one of its own.
        self.throttled = {"": self.out_of_files}
        self._in_core_line = False

    def run(self, reading: int) -> None:
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        with open(reading, "rb", buffering=0) as pipe:
            rest = b""
            while True:
                for throttled in self.throttled.values():
                    throttled.flush()
                if not poll.poll(FLUSH_INTERVAL_S * 1_000):
                    continue
                if not (chunk := pipe.read(READ_BYTES)):
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._sort(line.decode(errors="replace"))
            if rest:
                self._sort(rest.decode(errors="replace"))

    def _sort(self, line: str) -> None:
        if core_line := _CORE_LINE.fullmatch(line):
            self._in_core_line = True
            self._sort_core_line(line, _LEVELS[core_line["level"]], core_line["source"], core_line["message"])
        elif self._verbose or not (self._in_core_line and _CORE_TRACE.fullmatch(line)):
            self._in_core_line = False
            self._pass_on(line, logging.WARNING, line, logger="stderr")

    def _sort_core_line(self, line: str, level: int, source: str, message: str) -> None:
        if self._verbose or level == logging.CRITICAL:
            self._pass_on(line, level, message, logger="grpc.core", source=source)
        if source.startswith("ssl_transport_security") and (failed := _HANDSHAKE.fullmatch(message.rstrip())):
            text = re.sub("[^ -~]", "?", (failed["reason"] or failed["name"])[:MAX_REASON])
            if failed["reason"]:
                self._throttled(text, "handshake failed", "warning").log(reason=text)
            else:
                self._throttled("name", "server name not in the certificate", "warning").log(name=text)
        elif level == logging.ERROR and _OUT_OF_FILES.search(message):
            self.out_of_files.log(cause=os.strerror(errno.EMFILE))
        elif level == logging.ERROR and not self._verbose:
            self._throttled(source, "error in gRPC", "error").log(source=source, message=message)

    def _throttled(self, key: str, event: str, level: Literal["warning", "error"]) -> ThrottledLogger:
        if key not in self.throttled and len(self.throttled) >= MAX_EVENTS:
            key = "others"
        return self.throttled.setdefault(key, ThrottledLogger(event, level=level))

    def _pass_on(self, line: str, level: int, event: str, **fields: str) -> None:
        if self._json:
            log.get().log(level, event, **fields)
        else:
            with contextlib.suppress(OSError):
                os.write(self._original, f"{line}\n".encode())
