"""`/metrics`: what the collectors of a process say, for Prometheus."""

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

REGISTRY = web.AppKey("registry", CollectorRegistry)


async def metrics(request: web.Request) -> web.Response:
    """All metrics, in the text format or in that of OpenMetrics, as the client prefers."""
    encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
    return web.Response(body=encode(request.app[REGISTRY]), headers={hdrs.CONTENT_TYPE: content_type})


def add_routes(app: web.Application, registry: CollectorRegistry) -> None:
    """Answer from this registry."""
    app[REGISTRY] = registry
    app.router.add_get("/metrics", metrics)
