"""One output of many processes, each behind the name of its instance."""

import asyncio
import errno
from collections import defaultdict, deque
from collections.abc import Callable, Iterable

from chassis.log import CLOSE_LIMIT_S, LogOutput

# A longer line is split.
MAX_LINE_BYTES = 64 * 1024

# Lines of a process that are kept while the log is hidden, to be written if it fails.
KEPT_LINES = 5

# The name before our own lines.
OURS = "run"

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Output:
    """Writes whole lines only, in the order of their ends, and never waits for a reader.

    On a terminal it keeps the status below all other lines.
    """

    def __init__(self, log: LogOutput, names: Iterable[str], *, colours: bool, hides_log: bool = False) -> None:
        """Align lines by the longest of these names; with `hides_log`, write our own lines only."""
        self._log = log
        self._hides_log = hides_log
        self._status: list[str] = []
        self._kept: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=KEPT_LINES))
        self._colours = {OURS: 1} if colours else None
        self._width = max(len(name) for name in (*names, OURS))

    def watch(self, on_reader_gone: Callable[[], None], *, hangs_up: bool) -> None:
        """From now on, report lines that were lost, and call this function when the reader of a pipe is gone.

        With `hangs_up` that of a terminal counts, too: a shell would pass its signal on, `make` does not.
        """
        gone = {errno.EPIPE, errno.EIO} if hangs_up else {errno.EPIPE}
        loop = asyncio.get_running_loop()

        def on_error(error: OSError) -> None:
            if error.errno in gone:
                loop.call_soon_threadsafe(on_reader_gone)

        def on_recovery(lines: int, cause: str) -> None:
            loop.call_soon_threadsafe(self.say, f"{lines} lines of output were lost: {cause}")

        self._log.on_error, self._log.on_recovery = on_error, on_recovery

    def close(self) -> None:
        """Wait a moment for a slow reader."""
        self._log.close(CLOSE_LIMIT_S)

    def add(self, name: str, data: bytes) -> None:
        """Write a line of a process, or keep it if the log is hidden."""
        line = data.decode(errors="replace").rstrip("\r\n")
        if self._hides_log:
            self._kept[name].append(line)
        elif line:
            self._write(name, [line])

    def explain(self, name: str) -> None:
        """Write the last lines of a process that has failed, if the log is hidden."""
        self._write(name, self._kept.pop(name, ()))

    def say(self, line: str) -> None:
        """Write a line of our own."""
        self._write(OURS, [line])

    def show(self, status: list[str]) -> None:
        """Write these lines in the place of the status before."""
        before, self._status = self._status, status
        self._redraw("", before)

    def _write(self, name: str, lines: Iterable[str]) -> None:
        prefix = f"{name:<{self._width}} | "
        if self._hides_log and name == OURS:
            prefix = ""
        elif self._colours is not None:
            colour = self._colours.setdefault(name, _COLOURS[(len(self._colours) - 1) % len(_COLOURS)])
            prefix = f"\x1b[{colour}m{prefix[:-1]}\x1b[0m "
        self._redraw("".join(f"{prefix}{line}\n" for line in lines), self._status)

    def _redraw(self, above: str, before: list[str]) -> None:
        """Write some lines, and the status below, over the status before."""
        erasure = f"\x1b[{len(before)}A\r\x1b[J" if before else ""
        self._log.write(erasure + above + "".join(f"{line}\n" for line in self._status))
