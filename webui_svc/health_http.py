"""`/healthz` and `/readyz` on the port of the page."""

from functools import partial

from aiohttp import web

from chassis.health import PROBES, Health

HEALTH = web.AppKey("health", Health)


def add_routes(app: web.Application, health: Health) -> None:
    """Answer both paths from this state."""
    app[HEALTH] = health
    for path in PROBES:
        app.router.add_get(path, partial(_answer, path))


async def _answer(path: str, request: web.Request) -> web.Response:
    status, text = PROBES[path](request.app[HEALTH])
    return web.Response(status=status, text=text)
