import grpc

from chassis import grpc_options
from chassis.tls import credentials
from chassis.tls.renewed_certificates import RenewedCertificates


def open_channel(
    target: str, service: str, certificates: RenewedCertificates | None, *, authority: str | None = None
) -> grpc.aio.Channel:
    """A channel to a service with this full name, encrypted with these certificates if there are any.

    The authority is NAME:PORT where the target is an address of that name: what the server is called in requests, and
    whose name its certificate must have.
    """
    options = grpc_options.client(service, authority)
    if certificates is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials.client(certificates), options=options)
