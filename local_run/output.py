"""The lines of many processes on one terminal, each behind the name of its instance."""

import itertools
import os
from collections.abc import Iterable
from typing import BinaryIO

MAX_LINE = 64 * 1024
"""Bytes without a line's end after which one is made."""

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_RESET = b"\x1b[0m"


class Output:
    """Whole lines only, in the order of their ends."""

    def __init__(self, stream: BinaryIO, names: Iterable[str], *, colours: bool) -> None:
        """The stream is not to be buffered: what can't be written is lost, and not tried again at the very end."""
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
        """Write the lines that these bytes complete. Raises OSError when nobody reads any more."""
        *lines, rest = (self._rest[name] + data).split(b"\n")
        if len(rest) > MAX_LINE:
            lines.append(rest)
            rest = b""
        self._rest[name] = rest
        self._write(name, lines)

    def end(self, name: str) -> None:
        """Write what a process that has ended left without a line's end. Raises OSError."""
        rest, self._rest[name] = self._rest[name], b""
        if rest:
            self._write(name, [rest + self._reset])

    def say(self, line: str) -> None:
        """Write a line of our own. Raises OSError."""
        self._write(OURS, [line.encode()])

    def _write(self, name: str, lines: list[bytes]) -> None:
        if lines:
            prefix = self._prefixes[name]
            data = memoryview(b"".join(prefix + line.rstrip(b"\r") + b"\n" for line in lines))
            while data:
                data = data[self._stream.write(data) :]


OURS = "run"
"""The name before our own lines."""


def wants_colours(stream: BinaryIO) -> bool:
    """As the services see it (chassis.log): on a terminal and where FORCE_COLOR is set, never where NO_COLOR is."""
    return (stream.isatty() or bool(os.environ.get("FORCE_COLOR"))) and not os.environ.get("NO_COLOR")
