"""What it costs the engine to look at the containers' health; `make perf` builds and starts them."""

import secrets
import shutil
import time

import psutil
import pytest
from perf.conftest import Figures
from support.compose_project import ComposeProject

WINDOW_S = 60.0
"""Two health checks of each service."""

ENGINE = ("dockerd", "containerd", "docker-proxy")


def engine_seconds() -> dict[int, float]:
    """Return the CPU that the engine's processes and those that they started, the probes among them, have used."""
    spent = {}
    for process in psutil.process_iter(["name"]):
        if process.info["name"].startswith(ENGINE):
            times = process.cpu_times()
            spent[process.pid] = times.user + times.system + times.children_user + times.children_system
    return spent


@pytest.mark.timeout(600)
def test_health_checks(figures: Figures) -> None:
    if shutil.which("docker") is None or not engine_seconds():
        pytest.skip("there is no container engine, or its processes are not on this machine")
    project = ComposeProject(f"perf-{secrets.token_hex(4)}")
    try:
        project.ask("build", limit=500)
        project.up()
        before = engine_seconds()
        time.sleep(WINDOW_S)
        after = engine_seconds()
        used = sum(seconds - before.get(pid, 0) for pid, seconds in after.items())
        figures.check("the engine, with five services that are healthy", used / WINDOW_S, 0.025, "of a core")
    finally:
        project.down()
        project.remove_images()
