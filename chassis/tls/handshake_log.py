"""Handshakes of TLS that failed, and why: what gRPC's core says of them, in our own log.

gRPC for Python has neither a hook for failed handshakes nor certificate verifiers of one's own (1.85); its core only
writes a line to the process's standard error, with the reason and without the peer's address, where GRPC_VERBOSITY is
not set or INFO. chassis.foreign_log passes these lines on.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Literal, NamedTuple

from chassis.foreign_log import GRPC_CORE
from chassis.log import ThrottledLogger

MAX_REASONS = 16
"""Different reasons, each with a line of its own; what is beyond is said in one."""

MAX_LENGTH = 160
"""Characters of a reason."""

FLUSH_INTERVAL = 0.5
"""Seconds between looks at what there is to say of many failures in one line."""

OTHERS = "others"

_LINE = re.compile(
    r"^[IWE]\d{4} \S+ +\d+ ssl_transport_security\w*\.cc:\d+\] "
    r"(?:Handshake failed with error (?:SSL_ERROR_SSL: )?(?:error:\w+:SSL routines:OPENSSL_internal:)?(?P<reason>.+?)"
    r"(?:: Invalid certificate verification context)?"  # what it adds where there was no certificate to verify
    r"|No match found for server name: (?P<name>.+))$"
)


class Remark(NamedTuple):
    """What a line of gRPC's core says of a handshake."""

    reason: str = ""
    """Why it failed."""
    name: str = ""
    """Or else the server name that a client expects, which is not in this server's certificate."""


def remark(line: str) -> Remark | None:
    """What a line of gRPC's core says of a handshake, if it does."""
    match = _LINE.match(line.rstrip())
    return Remark(*(_shown(match[each] or "") for each in Remark._fields)) if match else None


def _shown(said: str) -> str:
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in said[:MAX_LENGTH])


class HandshakeLog:
    """One line every few seconds for each reason."""

    def __init__(self, level: Literal["warning", "error"], on_failures: Callable[[int], None]) -> None:
        """Each failure is passed on to `on_failures` as well, as a number of 1."""
        self._level: Literal["warning", "error"] = level
        self._on_failures = on_failures
        self._names = ThrottledLogger("asked for by a name that is not in the certificate", level=level)
        self._reasons: dict[str, ThrottledLogger] = {}

    def note(self, said: Remark) -> None:
        """Log this remark, or count it for a later line."""
        if said.reason:
            self._line(said.reason).log()
            self._on_failures(1)
        else:
            self._names.log(name=said.name)

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


class _Handler(logging.Handler):
    def __init__(self, note: Callable[[Remark], None]) -> None:
        super().__init__()
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        if (said := remark(record.getMessage())) is not None:
            self._note(said)


@contextlib.asynccontextmanager
async def handshake_log(
    level: Literal["warning", "error"], on_failures: Callable[[int], None] = lambda _: None
) -> AsyncIterator[None]:
    """Log failed handshakes of this process, whose standard error is captured, until the context is left."""
    log = HandshakeLog(level, on_failures)
    loop = asyncio.get_running_loop()

    def note(said: Remark) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(log.note, said)

    core = logging.getLogger(GRPC_CORE)
    handler = _Handler(note)
    core.addHandler(handler)
    flushing = asyncio.create_task(_flush(log))
    try:
        yield
    finally:
        flushing.cancel()
        core.removeHandler(handler)
        await asyncio.sleep(0)  # what the reader has handed over
        log.close()


async def _flush(log: HandshakeLog) -> None:
    while True:
        await asyncio.sleep(FLUSH_INTERVAL)
        log.flush()
