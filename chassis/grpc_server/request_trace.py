"""The spans of a gRPC server: one for each request that its client traces."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc

from chassis.grpc_options import TRACEPARENT
from chassis.grpc_server.bad_request import BadRequestError
from chassis.grpc_server.method_interceptor import Context, MethodInterceptor, StreamBehavior, UnaryBehavior

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from chassis.telemetry.tracing import Tracing

WAITED = "dockercoins.waited_seconds"
"""Seconds that a request waited for its turn, where its answer says so (see pacing)."""


class RequestTrace(MethodInterceptor):
    """Traces the requests to one service that name a span of their client's.

    A single call names it in the metadata `traceparent`. Each request of a stream has a field for it: metadata are the
    stream's, which carries many batches, of which few are traced.
    """

    def __init__(self, service: str, tracing: "Tracing") -> None:
        super().__init__(service)
        self._service = service
        self._tracing = tracing

    def _begin(self, method: str, traceparent: str) -> "Span | None":
        attributes = {"rpc.system": "grpc", "rpc.service": self._service, "rpc.method": method}
        return self._tracing.serve(traceparent, f"{self._service}/{method}", attributes)

    def _fail(self, span: "Span | None", reason: str) -> None:
        if span is not None:
            self._tracing.fail(span, reason)

    def unary(self, method: str, behavior: UnaryBehavior) -> Any:
        """One with a span where its metadata name one."""

        async def traced(request: object, context: Context) -> object:
            metadata = dict(context.invocation_metadata() or ())
            if TRACEPARENT not in metadata:
                return await behavior(request, context)
            span = self._begin(method, str(metadata[TRACEPARENT]))
            try:
                response = await behavior(request, context)
            except BaseException as error:
                self._fail(span, _problem(error, context))
                raise
            if span is not None:
                span.end()
            return response

        return traced

    def stream(self, method: str, behavior: StreamBehavior) -> Any:
        """One with a span for each request that names one."""

        async def traced(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[object]:
            # Answers come one at a time and in the order of the requests, so no more than one is being worked on.
            span: Span | None = None

            async def each() -> AsyncIterator[object]:
                nonlocal span
                async for request in requests:
                    if request.traceparent:
                        span = self._begin(method, request.traceparent)
                    yield request

            try:
                async for response in behavior(each(), context):
                    if span is not None:
                        span.set_attribute(WAITED, response.waited)
                        span.end()
                        span = None
                    yield response
            except BaseException as error:
                self._fail(span, _problem(error, context))
                raise

        return traced


def _problem(error: BaseException, context: Context) -> str:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED"
    if isinstance(error, BadRequestError):
        return f"INVALID_ARGUMENT: {error}"  # as RequestDecoding will have it
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        return f"{code.name}: {context.details()}"
    return f"{type(error).__name__}: {error}"
