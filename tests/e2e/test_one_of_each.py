"""`docker compose up` as a newcomer runs it."""

import json
import re
import time
import urllib.request
from typing import Any

import psutil
import pytest
from support.compose_project import ComposeProject, Start, docker

WINDOW = 60.0
"""Seconds of idling: two health checks of each service."""


@pytest.fixture(scope="module")
def started(make_module_project: Start) -> tuple[ComposeProject, float, float]:
    """A project, the seconds until all were healthy, and those until the first hash was counted."""
    project = make_module_project()
    return project, project.up(), project.wait_for_hashes(0, limit=10)


def test_all_are_healthy_in_15_seconds_and_mining_3_seconds_later(
    started: tuple[ComposeProject, float, float],
) -> None:
    project, healthy, mining = started
    assert healthy < 15
    assert mining < 3
    assert [container["State"]["Health"]["Status"] for container in project.containers()] == ["healthy"] * 5


@pytest.fixture(scope="module")
def project(started: tuple[ComposeProject, float, float]) -> ComposeProject:
    return started[0]


def get(project: ComposeProject, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{project.page}{path}", timeout=5) as response:
        text: str = response.read().decode()
        return text


def test_the_page_is_there(project: ComposeProject) -> None:
    assert "<html" in get(project, "/")
    assert get(project, "/static/vendor/uplot/uPlot.esm.js")
    time.sleep(2)  # it follows Redis, a second behind
    assert 0 < json.loads(get(project, "/json"))["hashes"] <= project.hashes()


def test_the_originals_page_would_show_the_right_numbers(project: ComposeProject) -> None:
    """It shows HLEN wallet as coins, and GET hashes over time as the speed."""
    first, first_at = int(project.redis("GET", "hashes")), time.monotonic()
    time.sleep(15)
    second, second_at = int(project.redis("GET", "hashes")), time.monotonic()
    assert (second - first) / (second_at - first_at) == pytest.approx(10 / 3, rel=0.25)  # it reads whole reports
    assert project.redis("TYPE", "wallet") in {"hash", "none"}
    coins, kept = int(project.redis("GET", "coins") or 0), int(project.redis("HLEN", "wallet"))
    assert coins - 1 <= kept <= coins + 1  # a report may have come between the two


@pytest.mark.parametrize("service", ["rng", "hasher", "worker", "webui", "redis"])
def test_a_container_is_confined(project: ComposeProject, service: str) -> None:
    (container,) = project.containers(service)
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Init"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    script = "id -u; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; touch /here 2>&1 || true"
    output = project.ask("exec", "--no-TTY", service, "sh", "-c", script)
    assert output.split()[0] == ("999" if service == "redis" else "10001")
    assert re.search(r"CapEff:\s+0+\n", output)
    assert re.search(r"NoNewPrivs:\s+1\n", output)
    assert "Read-only file system" in output


def test_nothing_but_the_page_is_reached_from_other_machines(project: ComposeProject) -> None:
    published = {
        (container["Config"]["Labels"]["com.docker.compose.service"], binding["HostIp"])
        for container in project.containers()
        for bindings in container["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    }
    assert {service for service, address in published if address != "127.0.0.1"} == {"webui"}
    assert {service for service, address in published if address == "127.0.0.1"} == {"rng", "hasher"}


def test_the_networks_between_services_lead_nowhere(project: ComposeProject) -> None:
    networks = {
        network["Name"].removeprefix(f"{project.name}_"): network
        for network in json.loads(
            docker("network", "inspect", *(f"{project.name}_{name}" for name in ("back", "probe")))
        )
    }
    assert networks["back"]["Internal"]
    assert networks["probe"]["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"


def test_redis_keeps_every_write(project: ComposeProject) -> None:
    assert project.redis("CONFIG", "GET", "appendonly") in ({"appendonly": "yes"}, ["appendonly", "yes"])
    assert project.redis("CONFIG", "GET", "appendfsync") in ({"appendfsync": "always"}, ["appendfsync", "always"])
    (container,) = project.containers("redis")
    assert [(mount["Type"], mount["Destination"]) for mount in container["Mounts"]] == [("volume", "/data")]


def test_the_logs_are_one_event_a_line_without_colours(project: ComposeProject) -> None:
    event = re.compile(r"\d\d:\d\d:\d\d \[(debug|info|warning|error) *\] \S.*")
    for service, expected in {
        "rng": r"StreamRandomBytes peer=\S+ stream=\d+ code=OK seconds=\S+ batches=\d+ bytes_in=\d+ bytes_out=\d+",
        "hasher": r"StreamHashes peer=\S+ stream=\d+ code=OK seconds=\S+ batches=\d+ bytes_in=\d+ bytes_out=\d+",
        "worker": r"\d+ units of work done",
        "webui": r"started",
    }.items():
        log = project.logs(service)
        assert re.search(expected, log)
        assert [line for line in log.splitlines() if not event.fullmatch(line)] == []


def test_colours_are_there_for_who_asks(make_project: Start) -> None:
    project = make_project(FORCE_COLOR=1)
    project.up("--no-deps", "rng")
    assert "\x1b[" in project.logs("rng")


ENGINE = ("dockerd", "containerd", "docker-proxy")


def engine_seconds() -> dict[int, float]:
    """CPU that the engine's processes have used, with those they started and waited for: probes are among these."""
    spent = {}
    for process in psutil.process_iter(["name"]):
        if process.info["name"].startswith(ENGINE):
            times = process.cpu_times()
            spent[process.pid] = times.user + times.system + times.children_user + times.children_system
    return spent


@pytest.fixture(scope="module")
def idle_minute(project: ComposeProject) -> dict[str, Any]:
    before = engine_seconds()
    time.sleep(WINDOW)
    after = engine_seconds()
    used = sum(seconds - before.get(pid, 0) for pid, seconds in after.items())
    return {"processes": len(after), "share": used / WINDOW, "speed": project.speed(WINDOW - 5)}


def test_health_checks_cost_less_than_two_and_a_half_percent_of_a_core(idle_minute: dict[str, Any]) -> None:
    if not idle_minute["processes"]:
        pytest.skip("the engine's processes are not on this machine")
    assert idle_minute["share"] < 0.025


def test_one_worker_does_ten_hashes_in_three_seconds(idle_minute: dict[str, Any]) -> None:
    assert idle_minute["speed"] == pytest.approx(10 / 3, rel=0.03)
