import asyncio
import socket

from aiohttp import web

from webui_svc.browsers import Browsers

BROWSERS = web.AppKey("browsers", Browsers)

STREAMS_PER_CLIENT = web.AppKey("streams_per_client", int)
"""Streams that one address may have open at a time."""

RETRY = b"retry: 1000\n\n"
"""Milliseconds after which a browser whose connection was lost comes again."""

WRITE_LIMIT = 30.0
"""Seconds that a browser may take no byte before its connection is dropped."""

MOST_STREAMS = 1_500
"""Streams that are open at a time."""

COME_AGAIN = 5
"""Seconds after which one that was too many may ask again."""

BUFFER = 16 * 1024
"""Bytes that wait here for a browser that does not read, beside the event that it is being sent."""

KERNEL_BUFFER = 64 * 1024
"""Bytes that wait in the kernel, which would take megabytes of its own accord."""

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",  # nginx would hold events back until it has a buffer full
}


async def events(request: web.Request) -> web.StreamResponse:
    """Server-sent events: a `snapshot`, then an `update` for each change; they end when the process stops.

    A browser that says which event was its last gets what it missed. 503 while there are too many streams, 429 while
    its address has too many.
    """
    if request.method == "HEAD":
        return web.Response(headers=_HEADERS)
    browsers = request.app[BROWSERS]
    client = request.remote or ""
    if len(browsers) >= MOST_STREAMS:
        return _refuse(browsers, 503, f"{MOST_STREAMS} pages are open already, and no more are served")
    if browsers.of_client(client) >= (most := request.app[STREAMS_PER_CLIENT]):
        return _refuse(browsers, 429, f"{most} pages are open at your address already (STREAMS_PER_CLIENT)")
    response = web.StreamResponse(headers=_HEADERS)
    with browsers.join(request.headers.get("Last-Event-ID"), client=client) as browser:
        try:
            _hold_little(request)
            writer = await response.prepare(request)
            event: bytes | None = RETRY
            while event is not None and writer is not None:
                async with asyncio.timeout(WRITE_LIMIT):
                    await writer.write(event)
                    await writer.drain()
                event = await browser.next()
        except (ConnectionError, TimeoutError) as error:
            browsers.dropped += isinstance(error, TimeoutError)
            if request.transport:
                request.transport.abort()  # it takes nothing any more, not even the end
    return response


def _refuse(browsers: Browsers, status: int, reason: str) -> web.Response:
    browsers.refused += 1
    return web.Response(status=status, headers={"Retry-After": str(COME_AGAIN)}, text=f"{reason}; try again later.\n")


def _hold_little(request: web.Request) -> None:
    """Hold a browser that does not read up where it is, so that it costs little and learns what is new when it does."""
    if not isinstance(request.transport, asyncio.WriteTransport):
        return
    request.transport.set_write_buffer_limits(high=BUFFER)
    connection = request.transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)


async def end_events(app: web.Application) -> None:
    """Let every browser go, so that none holds up stopping."""
    app[BROWSERS].end()
