import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import cast

import pytest
from aiohttp import web
from support import served
from support.free_port import free_port
from support.redis_server import RedisServer

from chassis import admin_endpoint, listener, log
from chassis.health import Health
from chassis.redis.access import RedisAccess
from chassis.settings import ServiceSettings
from chassis.telemetry.telemetry import Telemetry
from webui_svc.app import make_app
from webui_svc.connections import Connections


@dataclass
class Ports:
    """Where rng, hasher and webui listen, and the admin endpoint that rng and webui share."""

    rng: int
    hasher: int
    webui: int
    admin: int


async def _serve(ports: Ports, redis: RedisServer, started: "Future[Callable[[], object]]") -> None:
    """Serve until the function is called that is the result of `started`."""
    stop = asyncio.Event()
    telemetry = Telemetry(Health("redis"))
    app = make_app(RedisAccess(redis.url), telemetry, "webui-1")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.3)
    await runner.setup()
    serving = Connections(cast("web.Server", runner.server), 600)
    async with (
        admin_endpoint.serve(ServiceSettings(bind_address="127.0.0.1", metrics_port=ports.admin), telemetry),
        served.rng(telemetry, port=ports.rng),
        served.hasher(port=ports.hasher),
    ):
        with listener.listen("PORT", "127.0.0.1", ports.webui, "BIND_ADDRESS") as socket:
            async with listener.accepting(socket, serving):
                while not telemetry.health.ready:
                    await telemetry.health.changed.wait()
                started.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, stop.set))
                await stop.wait()
        await runner.cleanup()


@pytest.fixture(scope="module")
def ports(session_redis: RedisServer) -> Iterator[Ports]:
    """Servers in a thread of their own, for clients that block."""
    found = Ports(*(free_port() for _ in range(4)))
    started: Future[Callable[[], object]] = Future()
    thread = threading.Thread(target=asyncio.run, args=(_serve(found, session_redis, started),))
    thread.start()
    stop = started.result(30)
    yield found
    stop()
    thread.join()


@pytest.fixture(autouse=True)
def _no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No request makes a server or a library log an error."""
    yield
    errors = (record for record in caplog.get_records("call") if record.levelno >= logging.ERROR)
    assert [record for record in errors if log._is_our_trouble(record)] == []
