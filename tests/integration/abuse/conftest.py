import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import pytest
from support.free_port import free_port
from support.redis_server import RedisServer
from support.served import served

from chassis import admin_endpoint, log
from chassis.health import Health
from chassis.telemetry import Telemetry
from webui_svc.__main__ import webui
from webui_svc.settings import WebuiSettings


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
    settings = WebuiSettings(port=ports.webui, metrics_port=ports.admin, redis_url=redis.url, instance="webui-1")
    async with (
        admin_endpoint.serve(settings, telemetry),
        served("rng", telemetry, port=ports.rng),
        served("hasher", port=ports.hasher),
        webui(settings, telemetry),
    ):
        while not telemetry.health.ready:
            await telemetry.health.changed.wait()
        started.set_result(partial(asyncio.get_running_loop().call_soon_threadsafe, stop.set))
        await stop.wait()


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
    assert [record for record in errors if log._is_our_error(record)] == []
