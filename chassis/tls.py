"""Both ends of mutual TLS over gRPC, from certificates that may be renewed, and a log of handshakes that failed.

The minimum is TLS 1.2, and two of these agree on 1.3, by gRPC's own default. Certificates are checked in the handshake,
so renewed ones are used for connections from then on; open connections stay.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from typing import Literal

import grpc

from chassis import log
from chassis.grpc_log import GRPC_CORE
from chassis.log import ThrottledLogger
from chassis.settings import CertificateFiles, Certificates, SettingsError

# A check of the files costs three calls of stat(), and renewed certificates must be in use within a minute.
CHECK_INTERVAL_S = 5.0

FLUSH_INTERVAL_S = 0.5

# Each reason of failed handshakes has a line of its own, up to this number; the others share one.
MAX_REASONS = 16
OTHERS = "others"

# Characters of a reason.
MAX_LENGTH = 160

# gRPC's core adds "Invalid certificate verification context" where there was no certificate to verify.
_FAILURE = re.compile(
    r"^[IWE]\d{4} \S+ +\d+ ssl_transport_security\w*\.cc:\d+\] "
    r"(?:Handshake failed with error (?:SSL_ERROR_SSL: )?(?:error:\w+:SSL routines:OPENSSL_internal:)?(?P<reason>.+?)"
    r"(?:: Invalid certificate verification context)?"
    r"|No match found for server name: (?P<name>.+))$"
)


class RenewedCertificates:
    """The latest content of certificate files that could be used."""

    def __init__(self, files: CertificateFiles) -> None:
        """Read the files. Raises SettingsError when they can't be used."""
        self._files = files
        self._state = files.state()
        self.latest = files.read()
        self._unusable = ThrottledLogger("renewed certificate can't be used, keeping the one before", 60, level="error")

    def check(self) -> None:
        """Read the files if they have changed. While they can't be used, the latest content stays."""
        state = self._files.state()
        if state == self._state:
            return
        try:
            latest = self._files.read()
        except SettingsError as error:
            self._unusable.log(cause=str(error))
            return
        self._state = state
        self._unusable.clear()
        if latest != self.latest:
            self.latest = latest
            log.get().info("certificate renewed", file=str(self._files.cert))

    async def keep_checking(self) -> None:
        """Check the files every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            self.check()


def server_credentials(certificates: RenewedCertificates) -> grpc.ServerCredentials:
    """Return credentials that accept only clients with a certificate of the authority.

    The caller must keep them as long as the server lives.
    """
    in_use = certificates.latest

    # gRPC calls this for each new connection, in a thread of its own. None stands for no change.
    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal in_use
        latest = certificates.latest
        if latest is in_use:
            return None
        in_use = latest
        return _configuration(latest)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(in_use),
        renewed,  # type: ignore[arg-type] # its types lack None
        require_client_authentication=True,
    )


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pair = (certificates.key, certificates.chain)
    return grpc.ssl_server_certificate_configuration([pair], certificates.authority)


def client_credentials(certificates: RenewedCertificates) -> grpc.ChannelCredentials:
    """Return the credentials of a new channel. The server's name must be that of the channel's target.

    Even channels with the same credentials object share no connections: gRPC for Python makes a new one of its core's
    for each of them, and compares those (measured with grpcio 1.85). Resuming sessions (`grpc.ssl_session_cache`) takes
    a sixth off the 2.3 ms of CPU that a handshake costs both ends together, and does not check certificates again.
    """
    certificates.check()
    latest = certificates.latest
    return grpc.ssl_channel_credentials(latest.authority, latest.key, latest.chain)


class _HandshakeLog(logging.Handler):
    """Logs one line every few seconds for each reason of failed handshakes.

    gRPC for Python has neither a hook for failed handshakes nor certificate verifiers of one's own (1.85); its core
    only writes a line to the process's standard error, with the reason and without the peer's address.
    chassis.grpc_log passes these lines on.
    """

    def __init__(self, level: Literal["warning", "error"]) -> None:
        super().__init__()
        self._severity: Literal["warning", "error"] = level
        self._names = ThrottledLogger("server name not in the certificate", level=level)
        self._reasons: dict[str, ThrottledLogger] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Log a failed handshake, if the line of gRPC's core is about one, or count it for a later line."""
        failure = _FAILURE.match(record.getMessage().rstrip())
        if failure is None:
            return
        if failure["name"]:
            self._names.log(name=_printable(failure["name"]))
            return
        reason = _printable(failure["reason"])
        if reason not in self._reasons and len(self._reasons) >= MAX_REASONS:
            reason = OTHERS
        if reason not in self._reasons:
            self._reasons[reason] = ThrottledLogger("handshake failed", level=self._severity, reason=reason)
        self._reasons[reason].log()

    async def keep_flushing(self) -> None:
        """Log what has been held back for long enough, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            for line in (self._names, *self._reasons.values()):
                line.flush()

    def close(self) -> None:
        """Log what is held back."""
        for line in (self._names, *self._reasons.values()):
            line.close()
        super().close()


def _printable(text: str) -> str:
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text[:MAX_LENGTH])


@contextlib.asynccontextmanager
async def handshake_log(level: Literal["warning", "error"]) -> AsyncIterator[None]:
    """Log failed handshakes of this process, whose standard error is captured, until the context is left."""
    core = logging.getLogger(GRPC_CORE)
    handler = _HandshakeLog(level)
    core.addHandler(handler)
    flushing = asyncio.create_task(handler.keep_flushing())
    try:
        yield
    finally:
        flushing.cancel()
        core.removeHandler(handler)
        handler.close()
