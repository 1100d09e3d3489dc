"""The process webui."""

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
    from webui_svc.access import Access
    from webui_svc.app import make_app
    from webui_svc.connections import BESIDE_STREAMS, MAX_CONNECTIONS, OTHER_FILES, Connections, allow_open_files
    from webui_svc.settings import WebuiSettings


# The time that requests have to end; they take milliseconds, and streams of events end at once.
DRAIN_LIMIT_S = 0.3


@asynccontextmanager
async def webui(settings: WebuiSettings, telemetry: Telemetry) -> AsyncIterator[None]:
    """Run the service, from listening to closed."""
    allow_open_files(MAX_CONNECTIONS + OTHER_FILES)
    with contextlib.closing(
        listener.listen("PORT", settings.bind_address, settings.port, settings.variable("bind_address"))
    ) as socket:
        host, port = socket.getsockname()[:2]
        access = Access(settings.hosts, settings.token)
        app = make_app(settings.redis, telemetry, settings.instance, access, settings.streams_per_client)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_LIMIT_S)
        await runner.setup()
        try:
            max_per_address = settings.streams_per_client + BESIDE_STREAMS
            serving = Connections(cast("web.Server", runner.server), max_per_address)
            telemetry.metrics.register(serving)
            async with asyncio.TaskGroup() as background:
                sweeping = background.create_task(serving.run())
                with contextlib.closing(await asyncio.get_running_loop().create_server(serving, sock=socket)):
                    log.get().info("listening", address=listener.host_port(host, port))
                    yield
                sweeping.cancel()
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    sys.exit(process.run("webui", WebuiSettings, webui, "redis"))
