"""A container is healthy when its service is ready, and accepts connections on the port that clients use."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

from local_run.programs import SERVICES

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
STACK = yaml.safe_load((ROOT / "deploy" / "swarm" / "stack.yaml").read_text())

# In place of the container's own.
CLIENT_ADDRESS = "127.0.0.2"


@pytest.fixture
def statuses(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """What the service answers, by path."""
    statuses = {"/readyz": 200, "/healthz": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.get(self.path, 404))
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("METRICS_PORT", str(server.server_port))
        monkeypatch.setattr("socket.gethostname", lambda: CLIENT_ADDRESS)
        yield statuses
        server.shutdown()
        thread.join()


def check(monkeypatch: pytest.MonkeyPatch, *ports: int) -> object:
    """What the check of compose.yaml exits with, given these ports."""
    monkeypatch.setattr(sys, "argv", ["-c", *map(str, ports)])
    with pytest.raises(SystemExit) as caught:
        exec(compile(COMPOSE["x-check"], "check", "exec"), {})
    return caught.value.code


@pytest.mark.parametrize("service", SERVICES)
def test_the_port_that_clients_use_is_named_in_the_file(service: str) -> None:
    """The stack's file is compared with this one elsewhere."""
    described, fields = COMPOSE["services"][service], SERVICES[service].fields
    ports = [fields["port"].default] if "port" in fields else []
    assert described["healthcheck"]["test"] == ["CMD", "python", "-ISc", COMPOSE["x-check"], *map(str, ports)]
    on_this_machine = {
        "webui": "${WEBUI_PORT:-8000}",
        "rng": "127.0.0.1:50051-50099",
        "hasher": "127.0.0.1:50151-50199",
    }
    assert described.get("ports", []) == [f"{on_this_machine[service]}:{port}" for port in ports]


def test_a_service_is_healthy_when_it_is_ready_and_its_port_is_open_to_others(
    monkeypatch: pytest.MonkeyPatch, statuses: dict[str, int]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as for_itself:
        port = for_itself.getsockname()[1]
        assert str(check(monkeypatch, port)).startswith(f"port {port}: ")
    with socket.create_server((CLIENT_ADDRESS, 0)) as listener:
        port = listener.getsockname()[1]
        assert not check(monkeypatch, port)
        statuses["/readyz"] = 503
        assert check(monkeypatch, port)


def test_a_worker_of_the_stack_is_healthy_when_it_is_ready_and_from_then_on_while_it_is_alive(
    statuses: dict[str, int], tmp_path: Path
) -> None:
    """Otherwise Swarm would end it when Redis is away for long, with all that it has not yet reported."""
    script = STACK["services"]["worker"]["healthcheck"]["test"][-1].replace("/dev/shm", str(tmp_path))
    for ready, alive, code in ((503, 200, 1), (200, 200, 0), (503, 200, 0), (503, 503, 1)):
        statuses.update({"/readyz": ready, "/healthz": alive})
        assert subprocess.run([sys.executable, "-ISc", script], timeout=60, check=False).returncode == code


def test_a_start_among_many_is_borne() -> None:
    """Engines look every start_interval only in a start_period that is longer than the interval."""
    times = {"start_interval": "1s", "start_period": "60s", "interval": "30s", "timeout": "10s", "retries": 2}
    for healthcheck in (each["healthcheck"] for each in COMPOSE["services"].values() if "healthcheck" in each):
        assert {key: value for key, value in healthcheck.items() if key != "test"} == times
