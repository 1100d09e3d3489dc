"""One of each service as a real process, mining, with witnesses of what was done."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcess, local_target, service_processes
from support.unharmed import unharmed
from system.abuse.garbage import Address
from system.discovery.accounts import Accounts

from bench.witness import Evidence

DELAY = 0.01
"""Seconds that a batch takes, so that the machine has time for something else."""

BATCH_SIZE = 16
TESTS = Path(__file__).parents[2]


@dataclass
class Mining:
    redis: RedisServer
    random: Evidence
    hashed: Evidence
    rng: ServiceProcess
    hasher: ServiceProcess
    worker: ServiceProcess
    webui: ServiceProcess

    @property
    def services(self) -> list[ServiceProcess]:
        return [self.rng, self.hasher, self.worker, self.webui]

    @property
    def addresses(self) -> list[Address]:
        """All that they listen on."""
        return [address for service in self.services for address in listening(service)]

    def metrics_port(self, service: ServiceProcess) -> int:
        return next(each.port for each in listening(service) if service is self.worker or each.port != service.port)

    @asynccontextmanager
    async def unharmed(self) -> AsyncIterator[None]:
        """All of them."""
        async with AsyncExitStack() as stack:
            for service in self.services:
                url = f"http://127.0.0.1:{self.metrics_port(service)}/readyz"
                await stack.enter_async_context(unharmed(service.popen.pid, url))
            yield

    def until_mined(self, batches: int, limit: float = 10.0) -> None:
        """Wait until so many more were hashed."""
        wanted = len(self.hashed.answers) + batches
        deadline = time.monotonic() + limit
        while len(self.hashed.answers) < wanted:
            assert time.monotonic() < deadline, self.worker.text
            time.sleep(0.02)

    def longest_pause(self, begin: float, end: float) -> float:
        """Seconds of a time in which nothing was hashed."""
        moments = [begin, *(each.moment for each in self.hashed.answers if begin <= each.moment <= end), end]
        return max(later - earlier for earlier, later in pairwise(moments))

    def finish(self) -> None:
        """Stop the worker, and settle the accounts to the last hash."""
        assert self.worker.stop() == 0, self.worker.text
        Accounts(self.redis, self.random, self.hashed, BATCH_SIZE).settle(self.worker)


def listening(process: ServiceProcess) -> list[Address]:
    found = psutil.Process(process.popen.pid).net_connections("tcp")
    return [Address(*each.laddr) for each in found if each.status == psutil.CONN_LISTEN]


@contextlib.contextmanager
def mining(folder: Path) -> Iterator[Mining]:
    """It has begun."""
    with contextlib.ExitStack() as stack:
        # What they keep in memory is asked here, and coverage keeps much.
        processes = stack.enter_context(service_processes(folder))
        redis = stack.enter_context(redis_server(folder / "redis"))
        evidence = {
            name: stack.enter_context(contextlib.closing(Evidence(folder / f"{name}.evidence")))
            for name in ("rng", "hasher")
        }
        servers = {
            name: processes.start(
                f"system.discovery.witness_{name}",
                PORT=0,
                INSTANCE=f"{name}-1",
                PACE="full",
                DELAY=DELAY,
                WITNESS=evidence[name].path,
                PYTHONPATH=TESTS,
            )
            for name in evidence
        }
        webui = processes.start("webui", REDIS_URL=redis.url)
        targets = {f"{name.upper()}_TARGET": local_target(server) for name, server in servers.items()}
        settings = {"PACE": "full", "BATCH_SIZE": BATCH_SIZE, "WINDOW_SIZE": 4, "REDIS_URL": redis.url, **targets}
        worker = processes.start("worker", **settings)
        for process in (*servers.values(), webui, worker):
            process.wait_until_started()
        made = Mining(redis, evidence["rng"], evidence["hasher"], servers["rng"], servers["hasher"], worker, webui)
        made.until_mined(50)
        yield made
