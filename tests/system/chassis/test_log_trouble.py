"""What becomes of processes whose log can't be written, or which run out of file descriptors."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest
from support.admin_endpoint import ask, scrape
from support.free_port import free_ports
from support.redis_server import RedisServer
from support.service_process import KEPT, ServiceProcesses
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs /dev/full and limits of other processes")


def is_ready(port: int) -> bool:
    with contextlib.suppress(OSError):
        return ask(port, "/readyz")[0] == 200
    return False


@pytest.fixture
def on_exit() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(on_exit: ExitStack, name: str, output: int | None, **env: object) -> subprocess.Popen[bytes]:
    """Start a service with this output, or with none that is open."""
    kept = {key: value for key, value in os.environ.items() if key in KEPT}
    closing = ">&- 2>&-" if output is None else ""
    process = subprocess.Popen(
        ["/bin/sh", "-c", f'exec "$0" -m {name}_svc {closing}', sys.executable],
        env={**kept, **{key: str(value) for key, value in env.items()}},
        stdout=output,
        stderr=output,
    )
    on_exit.callback(process.wait)
    on_exit.callback(process.kill)
    return process


def fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x")
    os.set_blocking(pipe, True)


def test_services_mine_drain_and_report_whatever_becomes_of_their_logs(redis: RedisServer, on_exit: ExitStack) -> None:
    rng_port, hasher_port, web_port, worker_metrics, web_metrics = (free_ports(1) for _ in range(5))
    full = os.open("/dev/full", os.O_WRONLY)
    unread, full_pipe = os.pipe()
    on_exit.callback(os.close, unread)
    fill(full_pipe)
    nobody, broken = os.pipe()
    os.close(nobody)
    services = [
        start(on_exit, "rng", full_pipe, PORT=rng_port, METRICS_PORT=0),
        start(on_exit, "hasher", broken, PORT=hasher_port, METRICS_PORT=0),
        start(on_exit, "webui", None, PORT=web_port, METRICS_PORT=web_metrics, REDIS_URL=redis.url),
        start(
            on_exit,
            "worker",
            full,
            METRICS_PORT=worker_metrics,
            REDIS_URL=redis.url,
            RNG_TARGET=f"ipv4:127.0.0.1:{rng_port}",
            HASHER_TARGET=f"ipv4:127.0.0.1:{hasher_port}",
        ),
    ]
    for output in (full, full_pipe, broken):
        os.close(output)
    wait_until(lambda: int(redis.client().get("hashes") or 0) >= 2)
    samples = scrape(worker_metrics)
    assert samples("dockercoins_log_lost_lines_total") >= 3
    wait_until(lambda: is_ready(web_port))
    for process in reversed(services):
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert int(redis.client().get("hashes")) >= samples("dockercoins_worker_hashes_total")


def test_out_of_descriptors_is_one_line_every_few_seconds(processes: ServiceProcesses, on_exit: ExitStack) -> None:
    rng = processes.start("rng")
    ports = (rng.port, rng.metrics_port)
    before = len(rng.text.splitlines())
    process = psutil.Process(rng.popen.pid)
    limit = process.num_fds() + 2
    process.rlimit(psutil.RLIMIT_NOFILE, (limit, limit))
    clients = [socket.create_connection(("127.0.0.1", port)) for port in 10 * ports]
    rng.wait_for("out of file descriptors")
    time.sleep(1)  # a thousand failed attempts to accept a connection
    for client in clients:
        client.close()
    wait_until(lambda: is_ready(ports[1]))
    assert rng.stop() == 0
    *lines, stopping, last, stopped = rng.text.splitlines()[before:]
    assert len(lines) <= 3
    assert all("out of file descriptors" in line for line in (*lines, last))
    assert sum(int(line.rpartition("times=")[2]) for line in (*lines, last)) > 100
    assert "stopping" in stopping
    assert "stopped" in stopped
