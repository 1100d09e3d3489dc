"""A server as a real process, which is to be there afterwards as it was before."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import psutil
from support.probe import ask
from support.scrape import Samples, scrape
from support.service_process import ServiceProcess
from support.unharmed import MEMORY, PATIENCE
from system.abuse.raw_h2 import RawClient

from chassis.grpc_server.eviction import RETURN_INTERVAL

PATHS = {
    "rng": "/dockercoins.rng.v1.RngService/StreamRandomBytes",
    "hasher": "/dockercoins.hasher.v1.HasherService/StreamHashes",
}
CALL = "/dockercoins.rng.v1.RngService/GetRandomBytes"
SIZE_4 = b"\x08\x04"
"""GetRandomBytesRequest(size=4)"""


@dataclass
class Victim:
    process: ServiceProcess

    @cached_property
    def port(self) -> int:
        return self.process.port

    @cached_property
    def metrics_port(self) -> int:
        return self.process.metrics_port

    @property
    def memory(self) -> int:
        return int(psutil.Process(self.process.popen.pid).memory_info().rss)

    @property
    def connections(self) -> int:
        """To its gRPC port."""
        open_here = psutil.Process(self.process.popen.pid).net_connections("tcp")
        return sum(each.laddr.port == self.port and each.status == psutil.CONN_ESTABLISHED for each in open_here)

    def ready(self, limit: float = PATIENCE) -> bool:
        """Whether a probe is told so, within so many seconds."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                if ask(self.metrics_port, "/readyz")[0] == 200:
                    return True
        return False

    def samples(self) -> Samples:
        return scrape(self.metrics_port)

    def warm_up(self, connections: int = 1) -> None:
        """Have it make what it makes once, when so many connections with 250 calls come for the first time."""
        for path in (*PATHS.values(), CALL):
            with ExitStack() as stack:
                for _ in range(connections):
                    client = stack.enter_context(RawClient(self.port, source="127.0.0.9"))
                    client.read(0.1)
                    client.send(*(client.opening(path) for _ in range(250)))
                time.sleep(0.5)
        time.sleep(RETURN_INTERVAL)

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Whatever happens inside, it is up afterwards, and its memory soon as before."""
        assert self.ready()
        before = self.memory
        yield
        assert self.process.popen.poll() is None, self.process.text
        assert self.ready()
        until = time.monotonic() + PATIENCE
        while self.memory > MEMORY * before:
            assert time.monotonic() < until, f"{before / 2**20:.0f} MiB became {self.memory / 2**20:.0f}"
            time.sleep(0.1)
