"""Both ends of mutual TLS over gRPC, from certificates that may be renewed.

TLS 1.2 is the least and 1.3 what two of these agree on, by gRPC's own default. Ends of connections prove who they are
when they shake hands, so what is renewed counts for connections from then on; those that are open stay.
"""

import grpc

from chassis.settings import Certificates
from chassis.tls.renewed_certificates import RenewedCertificates


class ServerCredentials:
    """Takes only clients that show a certificate of the authority's."""

    def __init__(self, certificates: RenewedCertificates) -> None:
        self._certificates = certificates
        self._in_use = certificates.latest
        self.credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(self._in_use),
            self._renewed,  # type: ignore[arg-type] # its types have no None, which stands for no change
            require_client_authentication=True,
        )
        """For a server's port; gRPC needs them as long as the server lives."""

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        # gRPC asks at each new connection, in a thread of its own.
        latest = self._certificates.latest
        if latest is self._in_use:
            return None
        self._in_use = latest
        return _configuration(latest)


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pair = (certificates.key, certificates.chain)
    return grpc.ssl_server_certificate_configuration([pair], certificates.authority)


def client(certificates: RenewedCertificates) -> grpc.ChannelCredentials:
    """What a new channel shows and trusts. The server's name must be that of the channel's target.

    Even channels with the same credentials object share no connections: gRPC for Python makes a new one of its core's
    for each of them, and compares those (measured with grpcio 1.85). Resuming sessions (`grpc.ssl_session_cache`) takes
    a sixth off the 2.3 ms of CPU that a handshake costs both ends together, and does not look at certificates again.
    """
    certificates.look()
    latest = certificates.latest
    return grpc.ssl_channel_credentials(latest.authority, latest.key, latest.chain)
