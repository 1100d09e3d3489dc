import grpc

from chassis import grpc_options
from chassis.tls import credentials
from chassis.tls.renewed_certificates import RenewedCertificates


def open_channel(target: str, service: str, certificates: RenewedCertificates | None) -> grpc.aio.Channel:
    """A channel to a service with this full name, encrypted with these certificates if there are any."""
    options = grpc_options.client(service)
    if certificates is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials.client(certificates), options=options)
