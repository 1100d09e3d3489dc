"""What stands between a browser and webui: a network that breaks, and a proxy with a sub-path."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession, ClientTimeout, web
from support.free_port import free_port

CHUNK = 65_536


class Cable:
    """Forwards connections to a port, unless it is cut."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._server:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            self._writers -= ends


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def cable(target: int) -> AsyncIterator[Cable]:
    """A cable that is whole at first."""
    cable = Cable(target)
    await cable.mend()
    try:
        yield cable
    finally:
        await cable.cut()


@asynccontextmanager
async def sub_path(target: str, prefix: str) -> AsyncIterator[str]:
    """A reverse proxy's URL that shows a target's paths below a prefix, and nothing else."""

    async def forward(request: web.Request) -> web.StreamResponse:
        url = target + request.match_info["path"]
        async with session.get(url, params=request.query, headers={"Accept": request.headers["Accept"]}) as answer:
            kept = {name: answer.headers[name] for name in ("Content-Type", "Content-Security-Policy")}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            with contextlib.suppress(OSError):
                async for data in answer.content.iter_any():
                    await response.write(data)
            return response

    app = web.Application()
    app.router.add_get(prefix + "{path:.*}", forward)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    async with ClientSession(timeout=ClientTimeout(total=None)) as session:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port := free_port())
        await site.start()
        try:
            yield f"http://127.0.0.1:{port}{prefix}"
        finally:
            await runner.cleanup()
