"""`/metrics`: what the collectors of a process say, for Prometheus."""

import asyncio

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

REGISTRY = web.AppKey("registry", CollectorRegistry)
TURN = web.AppKey("turn", asyncio.Lock)


async def metrics(request: web.Request) -> web.Response:
    """All metrics, in the text format or in that of OpenMetrics, as the client prefers."""
    encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
    # It takes some milliseconds. However many ask, the event loop does something else between two of them.
    async with request.app[TURN]:
        body = encode(request.app[REGISTRY])
        await asyncio.sleep(0)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


def add_routes(app: web.Application, registry: CollectorRegistry) -> None:
    """Answer from this registry."""
    app[REGISTRY] = registry
    app[TURN] = asyncio.Lock()
    app.router.add_get("/metrics", metrics)
