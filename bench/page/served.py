"""webui and its Redis, as processes of their own."""

import contextlib
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis

from bench.processes import START_LIMIT, BenchError, free_port, log_tails, process, wait_until_listening
from local_run import embedded_redis
from webui_svc.events import MOST_STREAMS

# urlopen() would go through a proxy that the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Served:
    """Where the page is, and the process that serves it."""

    port: int
    process: psutil.Process

    def get(self, path: str) -> tuple[float, int]:
        """Seconds that an answer took, and its bytes as sent."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept-Encoding": "gzip"})
        began = time.monotonic()
        with _DIRECT.open(request, timeout=START_LIMIT) as response:
            size = len(response.read())
        return time.monotonic() - began, size

    @property
    def cpu(self) -> float:
        """Seconds so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    @property
    def megabytes(self) -> float:
        """Resident."""
        return float(self.process.memory_info().rss / 1e6)


@contextlib.contextmanager
def store(folder: Path) -> Iterator[tuple[str, Any]]:
    """A Redis of its own: its URL and a client. Raises BenchError when it does not listen."""
    port = free_port()
    with process(list(embedded_redis.command(port, str(folder))), {}, folder / "redis-process.log") as started:
        wait_until_listening(started, "127.0.0.1", port, folder)
        with contextlib.closing(redis.Redis(port=port, decode_responses=True)) as client:
            yield embedded_redis.url(port), client


@contextlib.contextmanager
def page(redis_url: str, folder: Path) -> Iterator[Served]:
    """webui, once it is ready. Raises BenchError when it is not in time."""
    port = free_port()
    environment = {
        "REDIS_URL": redis_url,
        "PORT": str(port),
        "METRICS_PORT": "0",
        "LOG_LEVEL": "warning",
        "STREAMS_PER_CLIENT": str(MOST_STREAMS),  # all of them are this machine's
    }
    with process([sys.executable, "-m", "webui_svc"], environment, folder / "webui.log") as started:
        wait_until_listening(started, "127.0.0.1", port, folder)
        served = Served(port, psutil.Process(started.pid))
        deadline = time.monotonic() + START_LIMIT
        while True:
            with contextlib.suppress(OSError):  # 503 until it is ready
                served.get("/readyz")
                break
            if time.monotonic() > deadline:
                raise BenchError(f"webui is not ready within {START_LIMIT:.0f} s: {log_tails(folder)}")
            time.sleep(0.02)
        yield served
