import sys

from chassis import quick_start

with quick_start.imports():
    import asyncio
    import contextlib
    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager
    from typing import cast

    from aiohttp import web

    from chassis import listener, log, process
    from chassis.telemetry import Telemetry
    from webui_svc import connections, open_files, request_trace
    from webui_svc.access import Access
    from webui_svc.app import make_app
    from webui_svc.connections import Connections
    from webui_svc.settings import WebuiSettings


DRAIN_LIMIT = 0.3
"""Seconds that requests have to end; they take milliseconds, and streams of events have been told to."""

OPEN_FILES = connections.MOST + 200
"""Connections of browsers, and room for probes, Redis and the files of the page."""


@asynccontextmanager
async def webui(settings: WebuiSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    """The service, from listening to closed."""
    open_files.allow(OPEN_FILES)
    with contextlib.closing(
        listener.listen("PORT", settings.bind_address, settings.port, settings.variable("bind_address"))
    ) as socket:
        host, port = socket.getsockname()[:2]
        access = Access(settings.hosts, settings.token)
        app = make_app(settings.redis, telemetry, settings.instance, access, settings.streams_per_client)
        if telemetry.tracing is not None:
            request_trace.trace(app, telemetry.tracing)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_LIMIT)
        await runner.setup()
        try:
            most = settings.streams_per_client + connections.BESIDE_STREAMS
            serving = Connections(cast("web.Server", runner.server), most)
            telemetry.metrics.register(serving)
            looking = asyncio.create_task(serving.run())
            async with listener.accepting(socket, serving):
                log.get().info("listening", address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
                yield
            looking.cancel()
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    sys.exit(process.run("webui", WebuiSettings, webui, "redis"))
