import json
import socket
import subprocess
import sys
from pathlib import Path

from support.free_port import free_ports

SCRIPT = Path(__file__).parents[3] / "deploy" / "check_ports.py"


def check(services: dict[str, str], *running: str) -> tuple[int, str]:
    """Return the exit code and the output for services with these published ports."""
    found = {name: {"ports": [{"published": published}]} for name, published in services.items()}
    composed = json.dumps({"services": {"redis": {}, **found}})
    command = [sys.executable, str(SCRIPT), *running]
    ended = subprocess.run(command, input=composed, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stderr


def test_a_port_that_is_in_use_is_named_unless_the_service_runs_already() -> None:
    first = free_ports(4)
    services = {"webui": str(first), "rng": f"{first + 1}-{first + 3}"}
    assert check(services) == (0, "")
    with socket.create_server(("127.0.0.1", first + 2)):
        assert check(services) == (1, f"rng: port {first + 2} is already in use; is `make run` on?\n")
        assert check(services, "rng") == (0, "")
    with socket.create_server(("127.0.0.1", first)):
        assert check(services) == (1, f"webui: port {first} is already in use; choose another with WEBUI_PORT=...\n")
