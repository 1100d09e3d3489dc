"""Both ends of mutual TLS over gRPC, from certificates that may be renewed.

The minimum is TLS 1.2, and two of these agree on 1.3, by gRPC's own default. Certificates are checked in the handshake,
so renewed ones are used for connections from then on; open connections stay. chassis/grpc_log.py logs failures.
"""

import asyncio

import grpc

from chassis import log
from chassis.log import ThrottledLogger
from chassis.settings import CertificateFiles, Certificates, SettingsError

# A check of the files costs three calls of stat(), and renewed certificates must be in use within a minute.
CHECK_INTERVAL_S = 5.0


class RenewedCertificates:
    """The latest content of certificate files that could be used."""

    def __init__(self, files: CertificateFiles) -> None:
        """Read the files. Raises SettingsError when they can't be used."""
        self._files = files
        self._state = files.state()
        self.latest = files.read()
        self._unusable = ThrottledLogger("renewed certificate can't be used, keeping the one before", 60, level="error")

    def check(self) -> Certificates:
        """Read the files if they have changed. Return the latest content, which stays while they can't be used."""
        state = self._files.state()
        if state == self._state:
            return self.latest
        try:
            latest = self._files.read()
        except SettingsError as error:
            self._unusable.log(cause=str(error))
            return self.latest
        self._state = state
        self._unusable.clear()
        if latest != self.latest:
            self.latest = latest
            log.get().info("certificate renewed", file=str(self._files.cert))
        return self.latest

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
    latest = certificates.check()
    return grpc.ssl_channel_credentials(latest.authority, latest.key, latest.chain)
