"""`/healthz` and `/readyz`: the state of a process for probes that speak HTTP."""

from aiohttp import web

from chassis.health import Health

HEALTH = web.AppKey("health", Health)


async def alive(_: web.Request) -> web.Response:
    """200 as long as the event loop turns."""
    return web.Response(text="alive\n")


async def ready(request: web.Request) -> web.Response:
    """200 when ready, otherwise 503 and what is missing."""
    health = request.app[HEALTH]
    if health.ready:
        return web.Response(text="ready\n")
    return web.Response(status=503, text=f"not ready: {', '.join(health.unmet)}\n")


def add_routes(app: web.Application, health: Health) -> None:
    """Answer both paths from this state."""
    app[HEALTH] = health
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
