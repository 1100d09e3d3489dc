"""One output of many processes, each behind the name of its instance."""

import asyncio
import errno
import itertools
import os
from collections.abc import Callable, Iterable

from chassis.log import CLOSE_LIMIT_S, LogOutput

# A longer line is split.
MAX_LINE_BYTES = 64 * 1024

# Lines of a process that are kept while the log is hidden, to be written if it fails.
KEPT_LINES = 5

# The name before our own lines.
OURS = "run"

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_RESET = b"\x1b[0m"


class Output:
    """Writes whole lines only, in the order of their ends, and never waits for a reader.

    On a terminal it keeps the status below all other lines.
    """

    def __init__(self, log: LogOutput, names: Iterable[str], *, colours: bool, hides_log: bool = False) -> None:
        """Align lines by the longest of these names; with `hides_log`, write our own lines only."""
        self._log = log
        self._hides_log = hides_log
        self._status: list[str] = []
        self._kept: dict[str, list[bytes]] = {}
        self._colours = itertools.cycle(_COLOURS)
        self._has_colours = colours
        self._width = max(len(name) for name in (*names, OURS))
        self._rest: dict[str, bytes] = {}
        self._prefixes = {OURS: self._prefix(OURS, 1)}

    def watch(self, on_reader_gone: Callable[[], None]) -> None:
        """From now on, report lines that were lost, and call this function when the reader of a pipe is gone."""
        loop = asyncio.get_running_loop()

        def on_error(error: OSError) -> None:
            if error.errno == errno.EPIPE:
                loop.call_soon_threadsafe(on_reader_gone)

        def on_recovery(lines: int, cause: str) -> None:
            loop.call_soon_threadsafe(self.say, f"{lines} lines of output were lost: {cause}")

        self._log.on_error, self._log.on_recovery = on_error, on_recovery

    def close(self) -> None:
        """Wait a moment for a slow reader."""
        self._log.close(CLOSE_LIMIT_S)

    def add(self, name: str, data: bytes) -> None:
        """Write the lines that these bytes complete."""
        *lines, rest = (self._rest.get(name, b"") + data).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            lines.append(rest)
            rest = b""
        self._rest[name] = rest
        self._write(name, lines)

    def end(self, name: str) -> None:
        """Write the unfinished line of a process that has ended."""
        if rest := self._rest.pop(name, b""):
            self._write(name, [rest + (_RESET if self._has_colours else b"")])

    def explain(self, name: str) -> None:
        """Write the last lines of a process that has failed, if the log is hidden."""
        self._write_lines(name, self._kept.pop(name, []))

    def say(self, line: str) -> None:
        """Write a line of our own."""
        self._write(OURS, [line.encode()])

    def show(self, status: list[str]) -> None:
        """Write these lines in the place of the status before."""
        self._log.write(self._erasure + self._text(status))
        self._status = status

    @property
    def _erasure(self) -> str:
        return f"\x1b[{len(self._status)}A\r\x1b[J" if self._status else ""

    @staticmethod
    def _text(lines: Iterable[str]) -> str:
        return "".join(f"{line}\n" for line in lines)

    def _write(self, name: str, lines: list[bytes]) -> None:
        if self._hides_log and name != OURS:
            self._kept[name] = [*self._kept.get(name, []), *lines][-KEPT_LINES:]
        elif lines:
            self._write_lines(name, lines)

    def _write_lines(self, name: str, lines: list[bytes]) -> None:
        if name not in self._prefixes:
            self._prefixes[name] = self._prefix(name, next(self._colours))
        prefix = self._prefixes[name]
        text = b"".join(prefix + line.rstrip(b"\r") + b"\n" for line in lines).decode(errors="replace")
        self._log.write(self._erasure + text + self._text(self._status))

    def _prefix(self, name: str, colour: int) -> bytes:
        prefix = f"{name:<{self._width}} |"
        return f"\x1b[{colour}m{prefix}\x1b[0m ".encode() if self._has_colours else f"{prefix} ".encode()


def wants_colours(descriptor: int) -> bool:
    """Return whether lines have colours, by the rule of the services: a terminal or FORCE_COLOR, but no NO_COLOR."""
    return (os.isatty(descriptor) or bool(os.environ.get("FORCE_COLOR"))) and not os.environ.get("NO_COLOR")
