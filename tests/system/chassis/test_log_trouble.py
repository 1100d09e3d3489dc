import contextlib
import signal
import socket
import subprocess
import sys
import time

import grpc
import psutil
import pytest
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from support.admin_endpoint import http_get, scrape
from support.free_port import free_ports
from support.service_process import ServiceProcesses
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs /dev/full and limits of other processes")


def is_ready(port: int) -> bool:
    with contextlib.suppress(OSError):
        return http_get(port, "/readyz")[0] == 200
    return False


@pytest.mark.parametrize(("redirection", "lost"), [("2>&1", True), (">/dev/full 2>&1", True), (">&- 2>&-", False)])
def test_a_service_serves_and_drains_whether_its_log_has_no_reader_or_no_room_or_is_closed(
    redirection: str,
    lost: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    port = free_ports(2)
    command = f'PORT={port} METRICS_PORT={port + 1} exec "$0" -m rng_svc {redirection}'
    with subprocess.Popen(["/bin/sh", "-c", command, sys.executable], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        try:
            wait_until(lambda: is_ready(port + 1))
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                RngServiceStub(channel).GetRandomBytes(GetRandomBytesRequest(size=32))
            assert bool(scrape(port + 1)("dockercoins_log_lost_lines_total")) is lost
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_out_of_descriptors_is_one_line_every_few_seconds(processes: ServiceProcesses) -> None:
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
    lines = rng.text.splitlines()[before:]
    about_files = [line for line in lines if "out of file descriptors" in line]
    assert len(about_files) <= 4, "the first at once, one after 5 s, and what was held back at the end"
    assert sum(int(line.partition("times=")[2] or 1) for line in about_files) > 100
    stopping, stopped = (line for line in lines if line not in about_files)
    assert "stopping" in stopping
    assert "stopped" in stopped
