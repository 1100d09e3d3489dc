"""What becomes of the streams that a client opens, counted for the metrics: grpc_server.call_watch does so for servers.

grpc.aio's own interceptors pass each message of a stream through a queue and another task. Serializers are called once
a message, whatever they do: so what counts the messages are those of gRPC's own.
"""

import asyncio
import time
from collections.abc import Sequence

import grpc

from chassis.telemetry.rpc_metrics import MethodCounts, RpcMetrics


class StreamWatch:
    """Opens streams of encoded messages of one method, and watches them."""

    def __init__(self, path: str, metrics: RpcMetrics) -> None:
        """Of the method that gRPC calls /SERVICE/METHOD."""
        self._path = path
        self._counts: MethodCounts = metrics.method("bidi_stream", path)
        self._watching: set[asyncio.Task[None]] = set()

    def open(
        self, channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]]
    ) -> "grpc.aio.StreamStreamCall[bytes, bytes]":
        """A stream, which opens once there is a server for it."""
        method = channel.stream_stream(self._path, request_serializer=self._sent, response_deserializer=self._received)
        call = method(metadata=tuple(metadata), wait_for_ready=True)
        self._counts.started += 1
        watching = asyncio.create_task(self._watch(call))
        self._watching.add(watching)
        watching.add_done_callback(self._watching.discard)
        return call

    def _sent(self, message: bytes) -> bytes:
        self._counts.sent += 1
        return message

    def _received(self, message: bytes) -> bytes:
        self._counts.received += 1
        return message

    async def _watch(self, call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        began = time.monotonic()
        # As gRPC has it: a stream that its client ends early, whatever for, was cancelled.
        code = await call.code()
        self._counts.ended(code.name, time.monotonic() - began)
