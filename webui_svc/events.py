import asyncio

from aiohttp import web

from webui_svc.browsers import Browsers

BROWSERS = web.AppKey("browsers", Browsers)

RETRY = b"retry: 1000\n\n"
"""Milliseconds after which a browser whose connection was lost comes again."""

WRITE_LIMIT = 30.0
"""Seconds that a browser may take no byte before its connection is dropped."""

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",  # nginx would hold events back until it has a buffer full
}


async def events(request: web.Request) -> web.StreamResponse:
    """Server-sent events: a `snapshot`, then an `update` for each change; they end when the process stops."""
    if request.method == "HEAD":
        return web.Response(headers=_HEADERS)
    response = web.StreamResponse(headers=_HEADERS)
    with request.app[BROWSERS].join() as browser:
        try:
            await response.prepare(request)
            event: bytes | None = RETRY
            while event is not None:
                async with asyncio.timeout(WRITE_LIMIT):
                    await response.write(event)
                event = await browser.next()
        except (ConnectionError, TimeoutError):
            if request.transport:
                request.transport.abort()  # it takes nothing any more, not even the end
    return response


async def end_events(app: web.Application) -> None:
    """Let every browser go, so that none holds up stopping."""
    app[BROWSERS].end()
