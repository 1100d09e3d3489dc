import asyncio
import re

import grpc

from chassis import grpc_options
from chassis.tls import credentials
from chassis.tls.renewed_certificates import RenewedCertificates

# If gRPC knows why there is no connection, it says so at once.
CAUSE_LIMIT_S = 0.5
MAX_CAUSE = 400

_ANY_METHOD = "/grpc.health.v1.Health/Check"
_UNHEALTHY = "backend unhealthy"
# Of a frozen server, which begins no handshake, gRPC says "Handshake read failed".
_UNTRUSTED = re.compile("(?i)verif|tls handshake failed")
# What gRPC's words mean: with TLS, without, or either way.
_MEANINGS = (
    (None, re.compile(_UNHEALTHY), "its health service does not say that this service serves"),
    (True, re.compile("WRONG_VERSION_NUMBER"), "it speaks no TLS"),
    (False, re.compile("Socket closed|reset by peer"), "it may want TLS, for which TLS_CERT must be set"),
)


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


async def failure(channel: grpc.aio.Channel, *, secure: bool) -> str:
    """Return why a channel is not ready, mostly in gRPC's words, or nothing where that is not known."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_ANY_METHOD)
    try:
        await call(b"", timeout=CAUSE_LIMIT_S)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            details = (error.details() or "")[:MAX_CAUSE]
            meanings = [meaning for tls, words, meaning in _MEANINGS if words.search(details) and tls in {None, secure}]
            return "; ".join((details, *meanings))
    except asyncio.CancelledError:
        # grpc.aio raises this, too, where the channel is closed meanwhile.
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
    return ""


def is_unhealthy(failure: str) -> bool:
    """Whether a server is connected, and its health service says that it does not serve."""
    return _UNHEALTHY in failure


def is_untrusted(failure: str) -> bool:
    """Whether a server's certificate is not accepted, or ours is not."""
    return _UNTRUSTED.search(failure) is not None
