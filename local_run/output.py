"""The terminal of a run: the lines of many processes, each behind the name of its instance, and the page's address."""

import http.client
import itertools
import os
import time
from collections.abc import Callable, Iterable
from typing import BinaryIO

# A longer line is split.
MAX_LINE_BYTES = 64 * 1024

# The name before our own lines.
OURS = "run"

# The page's probes hold up everything else.
PROBE_INTERVAL_S = 0.25
PROBE_TIMEOUT_S = 0.2

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_RESET = b"\x1b[0m"


class Output:
    """Writes whole lines only, in the order of their ends.

    The stream must be unbuffered: what can't be written is lost, and not written again at the very end. All methods
    raise OSError when the reader of the stream is gone.
    """

    def __init__(self, stream: BinaryIO, names: Iterable[str], *, colours: bool) -> None:
        names = list(names)
        width = max(len(name) for name in (*names, OURS))
        self._stream = stream
        self._reset = _RESET if colours else b""
        self._rest = dict.fromkeys(names, b"")
        self._prefixes = {
            name: f"\x1b[{colour}m{name:<{width}} |\x1b[0m ".encode() if colours else f"{name:<{width}} | ".encode()
            for name, colour in zip((OURS, *names), itertools.chain([1], itertools.cycle(_COLOURS)), strict=False)
        }

    def add(self, name: str, data: bytes) -> None:
        """Write the lines that these bytes complete."""
        *lines, rest = (self._rest[name] + data).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            lines.append(rest)
            rest = b""
        self._rest[name] = rest
        self._write(name, lines)

    def end(self, name: str) -> None:
        """Write the unfinished line of a process that has ended."""
        rest, self._rest[name] = self._rest[name], b""
        if rest:
            self._write(name, [rest + self._reset])

    def say(self, line: str) -> None:
        """Write a line of our own."""
        self._write(OURS, [line.encode()])

    def _write(self, name: str, lines: list[bytes]) -> None:
        if lines:
            prefix = self._prefixes[name]
            data = memoryview(b"".join(prefix + line.rstrip(b"\r") + b"\n" for line in lines))
            while data:
                data = data[self._stream.write(data) :]


def wants_colours(stream: BinaryIO) -> bool:
    """Return whether lines have colours, by the rule of the services: a terminal or FORCE_COLOR, but no NO_COLOR."""
    return (stream.isatty() or bool(os.environ.get("FORCE_COLOR"))) and not os.environ.get("NO_COLOR")


class PageAddress:
    """Prints the page's address once, as soon as the page responds."""

    def __init__(self, host: str, port: int, say: Callable[[str], None]) -> None:
        self._host = host
        self._port = port
        self._say = say
        self._next_probe = 0.0

    def announce(self) -> None:
        """Probe the page, unless it has responded before or the last probe was a moment ago."""
        if time.monotonic() < self._next_probe:
            return
        responds = self._responds()
        self._next_probe = float("inf") if responds else time.monotonic() + PROBE_INTERVAL_S
        if responds:
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._say(f"the page is at http://{host}:{self._port}/ (Ctrl-C stops everything)")

    def _responds(self) -> bool:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", "/readyz")
            # With a token, or for other hosts, the page refuses this request, and so it is there.
            return connection.getresponse().status != http.HTTPStatus.SERVICE_UNAVAILABLE
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
