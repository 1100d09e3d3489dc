"""A client's side of gRPC: channels, why one is not ready, and streams whose messages are counted."""

import asyncio
import re
import time
from collections.abc import AsyncIterator

import grpc

from chassis import grpc_options
from chassis.grpc_options import CLIENT_ID, STREAM_ID
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.tls import RenewedCertificates, client_credentials

# gRPC reports the cause of a missing connection at once, if it has one.
CAUSE_LIMIT_S = 0.5
MAX_CAUSE = 400

_ANY_METHOD = "/grpc.health.v1.Health/Check"
_UNHEALTHY = "backend unhealthy"
# Of a frozen server, which begins no handshake, gRPC says "Handshake read failed".
_UNTRUSTED = re.compile("(?i)verif|tls handshake failed")
# What gRPC's words mean: with TLS, without, or either way.
_MEANINGS = (
    (None, re.compile(_UNHEALTHY), "its health service does not report SERVING for this service"),
    (True, re.compile("WRONG_VERSION_NUMBER"), "it speaks no TLS"),
    (False, re.compile("Socket closed|reset by peer"), "it may want TLS, for which TLS_CERT must be set"),
)


def open_channel(
    target: str, service: str, certificates: RenewedCertificates | None, *, authority: str | None = None
) -> grpc.aio.Channel:
    """Open a channel to a service with this full name, encrypted with these certificates if there are any.

    The authority is NAME:PORT where the target is an address of that name: what the server is called in requests, and
    whose name its certificate must have.
    """
    options = grpc_options.client(service, authority)
    if certificates is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, client_credentials(certificates), options=options)


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
        if is_cancelled():
            raise
    return ""


def is_cancelled() -> bool:
    """Return whether the current task is being cancelled, rather than a call in it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_unhealthy(failure: str) -> bool:
    """Return whether a server is connected, and its health service reports NOT_SERVING."""
    return _UNHEALTHY in failure


def is_untrusted(failure: str) -> bool:
    """Return whether a server's certificate is not accepted, or ours is not."""
    return _UNTRUSTED.search(failure) is not None


class InstrumentedMethod:
    """A streaming method as one client calls it: streams are numbered for both sides' logs, and calls are counted.

    The caller counts messages: grpc.aio's own interceptors pass each one through a queue and another task.
    """

    def __init__(self, path: str, metrics: RpcMetrics, client_id: str) -> None:
        """Take the method's path, /SERVICE/METHOD."""
        self.counts = metrics.method("bidi_stream", path)
        self._path = path
        self._client_id = client_id
        self._watching: set[asyncio.Task[None]] = set()

    def open(
        self, channel: grpc.aio.Channel, requests: AsyncIterator[bytes]
    ) -> "tuple[int, grpc.aio.StreamStreamCall[bytes, bytes]]":
        """Open a stream of encoded messages, once there is a server for it. Return its number, too."""
        self.counts.started += 1
        number = self.counts.started
        metadata = ((CLIENT_ID, self._client_id), (STREAM_ID, str(number)))
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(self._path)
        call = method(requests, metadata=metadata, wait_for_ready=True)
        watching = asyncio.create_task(self._watch(call))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        return number, call

    async def _watch(self, call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        began = time.monotonic()
        # The code is gRPC's: a stream that its client ends early was cancelled.
        code = await call.code()
        self.counts.ended(code.name, time.monotonic() - began)
