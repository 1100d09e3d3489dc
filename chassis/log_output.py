"""Where log lines go: a descriptor that may be closed, full, broken or unread, none of which may stop a service.

The descriptor stays as it is, blocking or not, for other processes may share it. So a line is written when poll() says
that there is room, and no more than fits at once. What a slow reader leaves no room for waits in memory, bounded, and a
thread writes it; so does all that goes to a terminal, where poll() says nothing of how much fits. Lines beyond that,
and those that can't be written at all, are lost and counted.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TextIO

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

MAX_WAITING_BYTES = 1024 * 1024

# Some descriptors say that they have room and take nothing.
PAUSE_S = 0.05


class LogOutput(Collector):
    """Writes whole lines, in their order, and neither raises nor waits."""

    def __init__(self, stream: TextIO | int | None) -> None:
        """Write to a stream's descriptor, or nowhere if it is None, as sys.stdout is when it is closed."""
        self._descriptor = stream if stream is None or isinstance(stream, int) else stream.fileno()
        self._terminal = self._descriptor is not None and os.isatty(self._descriptor)
        self.on_recovery: Callable[[int, str], None] = lambda _, __: None
        """Called after the first line that could be written again, with the number of lost lines and the cause."""
        # Reentrant: garbage collection inside may log a failure of __del__.
        self._lock = threading.RLock()
        self._poll = self._poller()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None
        self._writable = True
        # Whether the last byte written ended no line, and whether its line is lost.
        self._within_line = False
        self._torn = False
        self._cause = ""
        self._lost = 0
        self._announced = 0

    def write(self, text: str | bytes) -> None:
        """Write a line, keep it until there is room, or lose it."""
        if self._descriptor is None:
            return
        line = text.encode(errors="backslashreplace") if isinstance(text, str) else text
        with self._lock:
            if self._waiting or self._terminal or (line := self._write_now(line)):
                self._keep(line)
            self._announce()

    def flush(self) -> None:
        """Do nothing, as what can be written is."""

    def isatty(self) -> bool:
        """Return whether people read it on a terminal."""
        return self._terminal

    def close(self, limit_s: float) -> None:
        """Wait until all lines are written, for some seconds at most."""
        thread = self._thread
        if thread is not None:
            thread.join(limit_s)

    def collect(self) -> Iterator[Metric]:
        """Yield the number of lost lines."""
        yield CounterMetricFamily("dockercoins_log_lost_lines", "Log lines that could not be written", self._lost)

    def _poller(self) -> select.poll:
        poll = select.poll()
        if self._descriptor is not None:
            poll.register(self._descriptor, select.POLLOUT)
        return poll

    def _write_now(self, line: bytes) -> bytes:
        """Write what there is room for, and return the rest."""
        rest = b"\n" + line if self._torn else line
        while rest and self._poll.poll(0):
            # Of a blocking pipe with room, this much and no more is sure not to wait.
            part = rest[: select.PIPE_BUF]
            try:
                written = os.write(self._descriptor or 0, part)
            except BlockingIOError:
                break
            except OSError as error:
                self._lose(str(error.strerror))
                self._torn = self._within_line
                return b""
            self._writable, self._torn = True, False
            self._within_line = part[written - 1 : written] != b"\n"
            rest = rest[written:]
        return line if self._torn else rest

    def _keep(self, line: bytes) -> None:
        if self._waiting_bytes + len(line) > MAX_WAITING_BYTES:
            self._lose("nothing reads them")
            self._torn = self._within_line and not self._waiting
            return
        # Not whether there is a thread: a finalizer may log while it starts.
        starting = not self._waiting
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if starting:
            self._start_thread()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._write_waiting, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # there are too many threads, or the interpreter ends
            for _ in self._waiting:
                self._lose(str(error))
            self._waiting.clear()
            self._waiting_bytes = 0
            self._torn = self._within_line
        else:
            self._thread = thread

    def _write_waiting(self) -> None:
        poll = self._poller()
        while True:
            poll.poll()
            # Without the lock, as it may block. Others only append as long as the line is there.
            line = self._waiting[0]
            rest = self._write_now(line)
            with self._lock:
                self._waiting.popleft()
                if rest:
                    self._waiting.appendleft(rest)
                self._waiting_bytes -= len(line) - len(rest)
                if not self._waiting:
                    self._thread = None
                    self._announce()
                    return
            if rest == line:
                time.sleep(PAUSE_S)

    def _lose(self, cause: str) -> None:
        with self._lock:
            self._writable, self._cause = False, cause
            self._lost += 1

    def _announce(self) -> None:
        lines = self._lost - self._announced
        if lines and self._writable and not self._waiting:
            lost, self._announced = self._lost, self._lost
            self.on_recovery(lines, self._cause)
            if self._lost > lost:
                self._announced -= lines
