"""Handshakes of TLS that failed, and why: what gRPC's core says of them on standard error, in our own log.

gRPC for Python has neither a hook for failed handshakes nor certificate verifiers of one's own (1.85); its core only
writes a line to the process's standard error, with the reason and without the peer's address, where GRPC_VERBOSITY is
not set or INFO. So standard error becomes a pipe, and whatever comes out of it that is not about handshakes goes where
it was to go. What is in the pipe when a process is killed is lost.
"""

import asyncio
import contextlib
import os
import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import BinaryIO, Literal, NamedTuple

from chassis.log import ThrottledLogger

STANDARD_ERROR = 2

MAX_REASONS = 16
"""Different reasons, each with a line of its own; what is beyond is said in one."""

MAX_LENGTH = 160
"""Characters of a reason."""

MAX_LINE = 64 * 1024
"""Bytes of a line; what has no end by then is passed on."""

FLUSH_INTERVAL = 0.5
"""Seconds between looks at what there is to say of many failures in one line."""

JOIN_LIMIT = 0.2
"""Seconds for what is still in the pipe at the end."""

OTHERS = "others"

_LINE = re.compile(
    rb"^[IWE]\d{4} \S+ +\d+ ssl_transport_security\w*\.cc:\d+\] "
    rb"(?:Handshake failed with error (?:SSL_ERROR_SSL: )?(?:error:\w+:SSL routines:OPENSSL_internal:)?(?P<reason>.+?)"
    rb"(?:: Invalid certificate verification context)?"  # what it adds where there was no certificate to verify
    rb"|No match found for server name: (?P<name>.+))$"
)


class Remark(NamedTuple):
    """What a line of gRPC's core says of a handshake."""

    reason: str = ""
    """Why it failed."""
    name: str = ""
    """Or else the server name that a client expects, which is not in this server's certificate."""


def remark(line: bytes) -> Remark | None:
    """What a line of standard error says of a handshake, if it does."""
    match = _LINE.match(line.rstrip())
    return Remark(*(_shown(match[each] or b"") for each in Remark._fields)) if match else None


def _shown(said: bytes) -> str:
    return "".join(chr(byte) if chr(byte).isascii() and chr(byte).isprintable() else "?" for byte in said[:MAX_LENGTH])


class HandshakeLog:
    """One line every few seconds for each reason."""

    def __init__(self, level: Literal["warning", "error"], on_failures: Callable[[int], None]) -> None:
        """Failures are told in their number to `on_failures` as well."""
        self._level: Literal["warning", "error"] = level
        self._on_failures = on_failures
        self._names = ThrottledLogger("asked for by a name that is not in the certificate", level=level)
        self._reasons: dict[str, ThrottledLogger] = {}

    def note(self, remarks: Sequence[Remark]) -> None:
        """Say these."""
        failures = 0
        for each in remarks:
            if each.reason:
                failures += 1
                self._line(each.reason).log()
            else:
                self._names.log(name=each.name)
        self._on_failures(failures)

    def _line(self, reason: str) -> ThrottledLogger:
        if reason not in self._reasons and len(self._reasons) >= MAX_REASONS:
            reason = OTHERS
        if reason not in self._reasons:
            self._reasons[reason] = ThrottledLogger("handshake failed", level=self._level, reason=reason)
        return self._reasons[reason]

    def flush(self) -> None:
        """Say what is not yet said, unless the last line is too recent."""
        for line in (self._names, *self._reasons.values()):
            line.flush()

    def close(self) -> None:
        """Say what is not yet said."""
        for line in (self._names, *self._reasons.values()):
            line.close()


@contextlib.asynccontextmanager
async def handshake_log(
    level: Literal["warning", "error"], on_failures: Callable[[int], None] = lambda _: None
) -> AsyncIterator[None]:
    """Log failed handshakes of this process until the context is left. One at a time: there is one standard error."""
    log = HandshakeLog(level, on_failures)
    loop = asyncio.get_running_loop()

    def note(remarks: Sequence[Remark]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(log.note, remarks)

    before = os.dup(STANDARD_ERROR)
    reading, writing = os.pipe()
    os.dup2(writing, STANDARD_ERROR)
    os.close(writing)
    reader = threading.Thread(target=_read, args=(reading, os.dup(before), note), name="standard error", daemon=True)
    reader.start()
    flushing = asyncio.create_task(_flush(log))
    try:
        yield
    finally:
        flushing.cancel()
        os.dup2(before, STANDARD_ERROR)  # which closes the pipe's only other end
        os.close(before)
        await asyncio.to_thread(reader.join, JOIN_LIMIT)
        log.close()


async def _flush(log: HandshakeLog) -> None:
    while True:
        await asyncio.sleep(FLUSH_INTERVAL)
        log.flush()


def _read(reading: int, writing: int, note: Callable[[Sequence[Remark]], None]) -> None:
    with open(reading, "rb", buffering=0) as pipe, open(writing, "wb") as output:
        rest = b""
        while chunk := pipe.read(MAX_LINE):
            *lines, rest = (rest + chunk).split(b"\n")
            remarks = []
            for line in lines:
                if (said := remark(line)) is not None:
                    remarks.append(said)
                else:
                    _pass_on(output, line + b"\n")
            if len(rest) >= MAX_LINE:
                _pass_on(output, rest)
                rest = b""
            if remarks:
                note(remarks)
        _pass_on(output, rest)


def _pass_on(output: BinaryIO, said: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more
        output.write(said)
        output.flush()
