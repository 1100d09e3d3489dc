"""The real system, one process a service, run for as long as a measurement takes."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from local_run import embedded_redis

WARM_UP = 1.5
START_LIMIT = 20.0


class BenchError(Exception):
    """A service did not do its work; the message says which, and where its log is."""


def mining(batch_size: int, seconds: float, folder: Path) -> float:
    """Hashes a second that one rng, one hasher and one worker count, by the intervals of the worker's reports."""
    port, rng_port, hasher_port = (_free_port() for _ in range(3))
    data = folder / str(port)
    data.mkdir()
    environment = {"PACE": "full", "METRICS_PORT": "0", "LOG_LEVEL": "warning", "BATCH_SIZE": str(batch_size)}
    worker = {
        "RNG_TARGET": f"ipv4:127.0.0.1:{rng_port}",
        "HASHER_TARGET": f"ipv4:127.0.0.1:{hasher_port}",
        "REDIS_URL": embedded_redis.url(port),
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(_process(list(embedded_redis.command(port, str(data))), {}, data / "redis"))
        for name, more in (
            ("rng", {"PORT": str(rng_port)}),
            ("hasher", {"PORT": str(hasher_port)}),
            ("worker", worker),
        ):
            command = [sys.executable, "-m", f"{name}_svc"]
            stack.enter_context(_process(command, {**environment, **more}, data / name))
        # redis-py's own types admit every kind of client at once.
        client: Any = redis.Redis(port=port, decode_responses=True)
        with contextlib.closing(client):
            _wait_for_reports(client, data)
            time.sleep(WARM_UP)
            begin_us = time.time() * 1e6
            time.sleep(seconds)
            entries = [entry for _, entry in client.xrange("reports") if int(entry["begin_us"]) >= begin_us]
    if not entries:
        raise BenchError(f"nothing was reported within {seconds} s at batch size {batch_size}")
    hashes = sum(int(entry["hashes"]) for entry in entries)
    return hashes / ((int(entries[-1]["end_us"]) - int(entries[0]["begin_us"])) / 1e6)


def _wait_for_reports(client: Any, data: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        with contextlib.suppress(redis.ConnectionError):
            if client.exists("reports"):
                return
        time.sleep(0.05)
    logs = "; ".join(f"{path.name}: {path.read_text()[-300:]!r}" for path in sorted(data.glob("*.log")))
    raise BenchError(f"nothing was mined within {START_LIMIT:.0f} s: {logs}")


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    inherited = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "LANG", "TMPDIR"}}
    with log.with_suffix(".log").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own services
            command, env={**inherited, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
