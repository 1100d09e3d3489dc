import contextlib
import socket
import ssl
from pathlib import Path

import psutil
from perf.conftest import Figures
from support.certificates import Authority
from support.service_process import ServiceProcess, ServiceProcesses

MAX_GROWTH = 1.2


def shake_hands(server: ServiceProcess, authority: Authority, times: int) -> None:
    """Connect without a certificate, and fail, `times` times."""
    context = ssl.create_default_context(cafile=authority.file)
    for _ in range(times):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", server.port), 5) as connection,
            context.wrap_socket(connection, server_hostname="rng") as encrypted,
        ):
            assert not encrypted.recv(1)


def test_refused_handshakes_leave_nothing_in_memory(
    figures: Figures, processes: ServiceProcesses, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "certs")
    rng = processes.start("rng", PACE="full", **authority.issue("rng"))
    rng.wait_until_started()
    memory = psutil.Process(rng.popen.pid).memory_info
    shake_hands(rng, authority, 100)
    before = memory().rss
    shake_hands(rng, authority, 900)
    figures.check(
        "memory of rng after 1,000 refused handshakes", memory().rss / before, MAX_GROWTH, "times that after 100"
    )
