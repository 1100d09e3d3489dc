"""The spans of the page's server: one for each request but those for files, until its answer begins."""

from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from chassis.telemetry.tracing import Tracing

TRACED = frozenset(("/", "/json", "/events", "/api/history", "/api/load-tests"))


def trace(app: web.Application, tracing: "Tracing") -> None:
    """Trace an application's requests.

    A span ends when the first byte of the answer is to be sent: a stream of events goes on for hours after that.
    """
    spans: web.RequestKey[Span] = web.RequestKey("span")

    @web.middleware
    async def begin(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = resource.canonical if resource else ""
        if route not in TRACED:
            return await handler(request)
        attributes = {"http.request.method": request.method, "http.route": route, "url.path": request.path}
        span = tracing.serve(request.headers.get("traceparent", ""), f"{request.method} {route}", attributes)
        if span is not None:
            request[spans] = span
        return await handler(request)

    async def end(request: web.Request, response: web.StreamResponse) -> None:
        span = request.get(spans)
        if span is None:
            return
        span.set_attribute("http.response.status_code", response.status)
        if response.status >= 500:
            tracing.fail(span, f"{response.status}")
        else:
            span.end()

    app.middlewares.append(begin)
    app.on_response_prepare.append(end)
