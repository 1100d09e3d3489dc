"""`docker compose up` as a newcomer runs it, and then the workshop: looked at, probed, scaled, stopped, misconfigured.

The tests share one project and run in the order of this file.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect
from support.chromium import shoot, until_text
from support.compose_project import ROOT, ComposeProject, docker
from support.grpcurl_commands import grpcurl_commands
from support.waiting import wait_until

SERVICES = ("rng", "hasher", "worker", "webui", "redis")
SCRIPTS = Path(sys.executable).parent

CLASSIC_SPEED = 10 / 3
"""Hashes/s of one worker; one rng does three times as many."""

TOLERANCE = 0.2
"""Part of a speed; other tests have the processors, too, and the speeds told apart differ by half at least."""

APPEARS_MS = 20_000
"""In which the page shows that a replica listens, or that it is gone; seen alone it takes a second or two."""

EXPECTED = {
    r"rng 50051\) list$": r"dockercoins\.rng\.v1\.RngService\n.*grpc\.health\.v1\.Health",
    r"describe dockercoins\.rng\.v1\.RngService$": r"rpc StreamRandomBytes \( stream ",
    r"list dockercoins\.hasher": r"dockercoins\.hasher\.v1\.HasherService\.StreamHashes",
    r"describe dockercoins\.hasher\.v1\.HashRequest$": r"bytes data = 1;",
    r"describe \S+HasherService.Hash$": r"rpc Hash \( \.dockercoins\.hasher\.v1\.HashRequest \)",
    r'"size": 16.*GetRandomBytes$': r'"data": "[A-Za-z0-9+/]{22}==",\s+"served_?[bB]y": "[0-9a-f]{12}"',
    r"/Hash$": r'"hex_?[dD]igest": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"',
    r'"count": 2.*StreamRandomBytes$': r'"batch_?[iI]d": "1"(?s:.*)"batch_?[iI]d": "2"',
    r'"message_size": 3.*StreamHashes$': r'served-by: [0-9a-f]{12}(?s:.*)"digests": "[A-Za-z0-9+/]{86}=="',
    r"Health/Check$": r'"status": "SERVING"',
    r"Health/Watch$": r'"status": "SERVING"(?s:.*)DeadlineExceeded',
    r'"size": 0.*GetRandomBytes$': r"InvalidArgument(?s:.*)size: 0 is not allowed(?s:.*)BadRequest",
    r'"message_size": 4.*StreamHashes$': r"InvalidArgument(?s:.*)message_size(?s:.*)BadRequest",
    r"Channelz/GetServers$": r'"calls_?[sS]tarted": "\d+"',
}
"""A pattern of commands, and what each of them must print."""


def commands(page: str) -> list[str]:
    """Return the page's commands for services without certificates; a test of processes runs the others."""
    return [command for command in grpcurl_commands(page) if "-cacert" not in command]


def shell(command: str, project: ComposeProject) -> str:
    """Return what a shell prints in the checkout of somebody who has this project only."""
    assert shutil.which("grpcurl", path=str(SCRIPTS)), "grpcurl is missing: make e2e installs it"
    environment = project.environment()
    environment |= {"COMPOSE_PROJECT_NAME": project.name, "PATH": f"{SCRIPTS}:{environment['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout + done.stderr


def addresses(container: str, name: str) -> set[str]:
    """Return the addresses that a container finds under a name."""
    code = f"import socket; print(*{{a[4][0] for a in socket.getaddrinfo('{name}', 1, type=socket.SOCK_STREAM)}})"
    return set(docker("exec", container, "python", "-c", code).split())


def own_addresses(project: ComposeProject, service: str, network: str) -> set[str]:
    networks = [each["NetworkSettings"]["Networks"] for each in project.containers(service)]
    return {each[f"{project.name}_{network}"]["IPAddress"] for each in networks}


def test_all_are_healthy_and_mine(project: ComposeProject) -> None:
    assert [container["State"]["Health"]["Status"] for container in project.containers()] == ["healthy"] * 5
    project.wait_for_hashes(0)
    wait_until(lambda: json.loads(get(project, "/json"))["hashes"] > 0, 10)
    assert get(project, "/static/vendor/uplot/uPlot.esm.js")


def get(project: ComposeProject, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{project.page}{path}", timeout=5) as response:
        return response.read().decode()


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_rights_and_no_disk(project: ComposeProject, service: str) -> None:
    output = project.inside(
        service, "sh", "-c", "id -u; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; touch /here 2>&1 || true"
    )
    assert output.split()[0] == ("999" if service == "redis" else "10001")
    assert re.search(r"CapEff:\s+0+\n", output)
    assert re.search(r"NoNewPrivs:\s+1\n", output)
    assert "Read-only file system" in output


def test_the_logs_are_one_event_a_line_without_colours(project: ComposeProject) -> None:
    event = re.compile(r"\d\d:\d\d:\d\d \[(debug|info|warning|error) *\] \S.*")
    for service in ("rng", "hasher", "worker", "webui"):
        lines = project.logs(service).splitlines()
        assert lines
        assert [line for line in lines if not event.fullmatch(line)] == []
    assert re.search(r"\bhashing +by=kernel\b", project.logs("hasher"))


@pytest.mark.parametrize("command", commands("docs/probing.md"))
def test_a_command_of_the_documentation_works(command: str, project: ComposeProject) -> None:
    [expected] = [output for pattern, output in EXPECTED.items() if re.search(pattern, command)]
    assert re.search(expected, shell(command, project), re.DOTALL)


@pytest.mark.parametrize("command", commands("README.md"))
def test_a_command_of_the_readme_works(command: str, project: ComposeProject) -> None:
    for service, port in (("rng", 50051), ("hasher", 50151)):
        address = project.ask("port", "--index", "1", service, str(port)).strip()
        command = command.replace(f"localhost:{port}", address)
    output = shell(command, project)
    assert "command not found" not in output
    assert "Failed to dial" not in output
    assert bool(re.search("ERROR|Error", output)) == ('"size": 0' in command)


def test_one_worker_does_ten_hashes_in_three_seconds(project: ComposeProject) -> None:
    assert project.speed(8) == pytest.approx(CLASSIC_SPEED, rel=TOLERANCE)


def replicas(page: Page, service: str) -> Locator:
    return page.locator(f"[data-service={service}]").get_by_role("listitem")


def host_names(project: ComposeProject, service: str) -> list[str]:
    return [container["Config"]["Hostname"] for container in project.containers(service)]


async def test_the_page_shows_replicas_by_host_name_as_they_come_and_go(project: ComposeProject, page: Page) -> None:
    await until_text(page, "#status", "^Live$")
    await until_text(page, "#speed", r"^3\.\d")
    await expect(replicas(page, "worker")).to_have_count(1)
    for service in ("rng", "hasher", "webui"):
        await expect(replicas(page, service)).to_contain_text(host_names(project, service))
    project.up("--no-recreate", "--scale", "rng=3")
    for name in host_names(project, "rng"):
        await expect(replicas(page, "rng").filter(has_text=name)).to_contain_text("serving", timeout=APPEARS_MS)
    victim = host_names(project, "rng")[1]
    docker("kill", victim)
    await expect(replicas(page, "rng").filter(has_text=victim)).to_contain_text("gone", timeout=APPEARS_MS)
    await shoot(page, "one-of-three-killed")
    await expect(replicas(page, "rng").filter(has_text=victim)).to_have_count(0, timeout=30_000)
    await expect(replicas(page, "rng")).to_have_count(2)


async def test_a_page_left_open_recovers_when_webui_is_started_again(project: ComposeProject, page: Page) -> None:
    await until_text(page, "#status", "^Live$")
    stopped = time.time()
    project.stop("webui")
    await until_text(page, "#status", "Connection lost")
    project.up()
    await until_text(page, "#status", "^Live$")
    live = time.time()

    def seconds_mined() -> int:
        """All workers have reported what is some seconds old."""
        points = json.loads(get(project, "/api/history?seconds=60"))["points"]
        return sum(stopped < second < live and hashes > 1 for second, hashes in points)

    wait_until(lambda: seconds_mined() >= live - stopped - 1, 15, lambda: get(project, "/api/history?seconds=60"))


def test_ten_workers_on_one_rng_do_as_much_as_it_can(project: ComposeProject) -> None:
    hasher = project.containers("hasher")[0]["Id"]
    project.up(WORKERS=10)
    wait_until(lambda: project.speed(4) == pytest.approx(3 * CLASSIC_SPEED, rel=TOLERANCE), 60)
    assert [container["Id"] for container in project.containers("hasher")] == [hasher], "it was not scaled"


def test_a_second_rng_doubles_the_speed(project: ComposeProject) -> None:
    project.up(RNGS=2)
    wait_until(lambda: project.speed(4) == pytest.approx(6 * CLASSIC_SPEED, rel=TOLERANCE), 60)


def test_each_replica_has_an_address_and_a_port_of_its_own(project: ComposeProject) -> None:
    found = [addresses(container["Id"], "rng") for container in project.containers("worker")[::4]]
    assert found == [own_addresses(project, "rng", "back")] * 3
    assert len(found[0]) == 2
    assert len({project.ask("port", "--index", str(index), "rng", "50051") for index in (1, 2)}) == 2


def test_a_project_beside_it_finds_its_own_replicas_alone(project: ComposeProject, tag: str) -> None:
    other = ComposeProject(tag)
    other.settings |= {name: project.settings[name] for name in ("TEST_RNG_PORTS", "TEST_HASHER_PORTS")}
    try:
        other.up("--no-deps", "rng")
        (rng,) = other.containers("rng")
        own = own_addresses(other, "rng", "back") | own_addresses(other, "rng", "probe")
        assert set() < addresses(rng["Id"], "rng") <= own
        assert addresses(project.containers("worker")[0]["Id"], "rng") == own_addresses(project, "rng", "back")
    finally:
        other.down()


def test_all_stop_in_time_and_nothing_is_lost_or_counted_twice(project: ComposeProject) -> None:
    took = project.stop()
    assert set(project.exit_codes().values()) == {0}, "engines kill what takes longer than stop_grace_period"
    assert took < 15
    project.up("--no-deps", "redis")
    assert project.hashes() == project.hashes_logged()


def test_the_load_test_measures_the_services_that_it_starts(project: ComposeProject, tmp_path: Path) -> None:
    project.settings.update(PACE="full", WORKERS=1, RNGS=1)
    short = ("--batch-sizes", "1,4096", "--duration", "1", "--warm-up", "0.5", "--repeat", "1")
    reports = ("--output", "/reports/report.json", "--html", "/reports/report.html", "--publish")
    output = project.ask(
        *("run", "--rm", "--no-TTY", "--user", str(os.getuid()), "--volume", f"{tmp_path}:/reports"),
        *("load-test", *short, *reports),
    )
    assert "hashes/s" in output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["conditions"]["targets"] == {"rng": "dns:///rng:50051", "hasher": "dns:///hasher:50151"}
    assert [each["point"]["batch_size"] for each in report["points"]] == [1, 4096]
    assert all(each["summary"]["hashes_per_second"]["median"] > 100 for each in report["points"])
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert project.redis("LLEN", "load_tests") == 1
    assert not any(container["State"]["Running"] for container in project.containers("worker"))
    assert not project.containers("load-test")


def test_mining_goes_on_from_the_same_total(project: ComposeProject) -> None:
    before = project.hashes()
    project.up(PACE="classic")
    project.wait_for_hashes(before)
    assert before < project.hashes() < before + 200


def test_a_wrong_setting_is_one_line_and_does_not_loop(project: ComposeProject) -> None:
    done = project.try_up("--no-deps", "rng", PACE="slow")
    assert done.returncode == 1

    def ended() -> bool:
        (rng,) = project.containers("rng")
        return bool(rng["State"]["Status"] == "exited" and rng["RestartCount"] == 3)

    wait_until(ended, 30, lambda: project.containers("rng"))
    assert set(project.exit_codes().values()) == {0, 2}
    assert project.logs("rng").splitlines() == ["rng: PACE='slow' is not allowed: it must be classic or full"] * 4
    project.settings["PACE"] = "classic"


def test_a_port_that_is_taken_is_named(project: ComposeProject) -> None:
    page = project.settings["WEBUI_PORT"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = project.try_up("--no-deps", "webui", WEBUI_PORT=port)
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "address already in use" in done.stderr
    project.up(WEBUI_PORT=page)


def test_a_target_that_no_name_server_knows_fails_the_start_and_recovers(
    project: ComposeProject, tag: str, tmp_path: Path
) -> None:
    quick = tmp_path / "health.json"
    quick.write_text(json.dumps({"services": {"worker": {"healthcheck": {"start_period": "3s", "interval": "4s"}}}}))
    project.files.append(quick)
    done = project.try_up("--no-deps", "worker", RNG_TARGET="dns:///late:50051")
    assert done.returncode == 1
    assert "worker" in done.stderr.splitlines()[-1]
    before = project.hashes()
    late = docker(
        *("run", "--detach", "--rm", "--network", f"{project.name}_back", "--network-alias", "late"),
        f"dockercoins-grpc/rng:{tag}",
    ).strip()
    try:
        project.wait_for_hashes(before)
        assert project.containers("worker")[0]["RestartCount"] == 0
    finally:
        docker("rm", "--force", late)
        project.files.remove(quick)
