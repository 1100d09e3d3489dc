"""`docker compose up` as a newcomer runs it, and then the workshop: probed, scaled, measured, broken and monitored.

The tests share one project and run in the order of this file. Where they break things, rng and hasher limit the speed
by waiting and not by CPU: on two cores more replicas that compute would add nothing, and any balancing would look good.
How soon each of this must come about is tested with processes.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect
from support.chromium import chromium, opened_pages, shoot, until_text
from support.compose_project import ROOT, ComposeProject, docker, grpcurl_commands, run
from support.free_port import free_port
from support.prometheus_api import PrometheusApi
from support.waiting import wait_until

SCRIPTS = Path(sys.executable).parent

# In which the page shows that a replica listens, or that it is gone; seen alone it takes a second or two.
APPEARS_MS = 20_000

# A pattern of commands, and what each of them must print.
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

PORTS = {"50051": "rng", "50151": "hasher"}

SERVICES = ("rng", "hasher")

DELAY_S = 0.05
FULL_PACE = {"PACE": "full", "RNG_DELAY": DELAY_S, "HASHER_DELAY": DELAY_S, "CONCURRENCY": 1, "BATCH_SIZE": 16,
             "WINDOW_SIZE": 24}  # fmt: skip

# In which shares and speeds are counted.
WINDOW_S = 2.0

# Part of the batches that one of three has at least.
FAIR_SHARE = 0.2

# Part of what the replicas can do that counts as all of it; other tests have the processors, too.
FULL = 0.7

LIMIT_S = 30.0

READ_METRICS = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9103/metrics').read().decode())"
COMPLETED = re.compile(
    r'^dockercoins_worker_completed_batches_total\{replica="(.*)",service="(.*)"\} (\S+)$', re.MULTILINE
)

REMOVALS = 20

STAND_IN = Path(__file__).parent / "prometheus.Dockerfile"

# In which Prometheus sees what changed; it looks for replicas and reads their metrics every five seconds.
FOUND_LIMIT_S = 60.0


def commands() -> list[str]:
    """Return the commands for services without certificates; those of the README print the port, too."""
    found = "\n".join([*grpcurl_commands("docs/probing.md"), *grpcurl_commands("README.md")])
    found = re.sub(
        r"localhost:(\d+)", lambda port: f"$(docker compose port --index 1 {PORTS[port[1]]} {port[1]})", found
    )
    return [command for command in dict.fromkeys(found.splitlines()) if "-cacert" not in command]


def health(project: ComposeProject) -> list[str]:
    return [container["State"]["Health"]["Status"] for container in project.containers()]


def test_all_are_healthy_and_mine(project: ComposeProject) -> None:
    assert health(project) == ["healthy"] * 5
    project.wait_for_hashes(0)
    assert project.get("/static/vendor/uplot/uPlot.esm.js")
    assert re.search(r"^\d\d:\d\d:\d\d \[info *\] hashing +by=kernel$", project.logs("hasher"), re.MULTILINE)


def test_a_container_has_no_rights_and_no_disk(project: ComposeProject) -> None:
    script = "id -u; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; touch /here 2>&1 || true"
    for service, user in (("rng", 10001), ("hasher", 10001), ("worker", 10001), ("webui", 10001), ("redis", 999)):
        output = project.inside(service, "sh", "-c", script)
        assert re.fullmatch(rf"{user}\nCapEff:\s+0+\nNoNewPrivs:\s+1\n.*Read-only file system\n", output)


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_documentation_works(command: str, project: ComposeProject) -> None:
    [expected] = [output for pattern, output in EXPECTED.items() if re.search(pattern, command)]
    path = f"{SCRIPTS}:{os.environ['PATH']}"  # of grpcurl, which `make e2e` installs
    settings = {**project.settings, "COMPOSE_PROJECT_NAME": project.name, "PATH": path}
    done = run("bash", "-c", command, settings=settings)
    assert re.search(expected, done.stdout + done.stderr, re.DOTALL)


def replicas(page: Page, service: str) -> Locator:
    return page.locator(f"[data-service={service}]").get_by_role("listitem")


def host_names(project: ComposeProject, service: str) -> list[str]:
    return [container["Config"]["Hostname"] for container in project.containers(service)]


async def test_the_page_shows_replicas_by_host_name_as_they_come_and_go_and_the_speed(project: ComposeProject) -> None:
    async with chromium() as browser, opened_pages(browser) as open_page:
        page = await open_page(f"http://127.0.0.1:{project.page}/")
        await until_text(page, "#status", "^Live$")
        await until_text(page, "#speed", r"^3\.\d")
        for service in ("rng", "hasher", "webui"):
            await expect(replicas(page, service)).to_contain_text(host_names(project, service))
        project.up("--no-recreate", "--scale", "rng=3")
        for name in host_names(project, "rng"):
            await expect(replicas(page, "rng").filter(has_text=name)).to_contain_text("serving", timeout=APPEARS_MS)
        killed = host_names(project, "rng")[1]
        docker("kill", killed)
        await expect(replicas(page, "rng").filter(has_text=killed)).to_contain_text("gone", timeout=APPEARS_MS)
        await shoot(page, "one-of-three-killed")
        project.up(WORKERS=10, RNGS=2)
        await expect(replicas(page, "worker")).to_have_count(10)
        await until_text(page, "#speed", r"^(1[6-9]|2[0-4])\.\d")


def test_all_stop_in_time_nothing_is_lost_or_counted_twice_and_mining_goes_on(project: ComposeProject) -> None:
    assert project.stop() < 15
    assert set(project.exit_codes().values()) == {0}, "engines kill what takes longer than stop_grace_period"
    project.up("--no-deps", "redis", "webui")
    counted = project.hashes()
    assert counted == project.hashes_logged()
    project.up(WORKERS=1, RNGS=1)
    project.wait_for_hashes(counted)


def test_the_load_test_starts_its_own_services_and_leaves_those_of_the_project_alone(
    project: ComposeProject, tmp_path: Path
) -> None:
    before = {container["Id"] for container in project.containers("rng") + project.containers("hasher")}
    short = ("--batch-sizes", "1,4096", "--duration", "1", "--warm-up", "0.5", "--repeat", "1")
    reports = ("--output", "/reports/report.json", "--html", "/reports/report.html", "--publish")
    output = project.compose(
        *("run", "--rm", "--no-TTY", "--user", str(os.getuid()), "--volume", f"{tmp_path}:/reports"),
        *("load-test", *short, *reports),
    )
    assert "hashes/s" in output
    report = json.loads((tmp_path / "report.json").read_text())
    assert all(target.startswith("ipv4:127.0.0.1:") for target in report["conditions"]["targets"].values())
    assert all(each["summary"]["hashes_per_second"]["median"] > 100 for each in report["points"])
    assert '"per_second":[{' in (tmp_path / "report.html").read_text()
    assert project.inside("redis", "redis-cli", "llen", "load_tests").strip() == "1"
    assert before == {container["Id"] for container in project.containers("rng") + project.containers("hasher")}


def completed(project: ComposeProject) -> Counter[tuple[str, str]]:
    """Return the batches that the worker has of each replica, by service and replica."""
    found = COMPLETED.findall(project.inside("worker", "python", "-c", READ_METRICS))
    return Counter({(service, replica): int(float(count)) for replica, service, count in found})


def wait_until_shared(project: ComposeProject, replicas: int) -> None:
    """Wait until this number of rngs and hashers each have a fair share, and work at full speed."""

    def all_share() -> bool:
        began, before = time.monotonic(), completed(project)
        time.sleep(WINDOW_S)
        answered = completed(project) - before
        least = FULL * replicas * (time.monotonic() - began) / DELAY_S
        for each in SERVICES:
            counts = [count for (service, _), count in answered.items() if service == each]
            shares = [count for count in counts if count >= FAIR_SHARE * sum(counts)]
            if len(shares) != replicas or sum(counts) < least:
                return False
        return True

    wait_until(all_share, LIMIT_S, lambda: completed(project))


def test_services_start_in_any_order_and_new_replicas_get_their_share(project: ComposeProject) -> None:
    project.down()
    project.settings.update(FULL_PACE)
    project.compose("up", "--detach", "--no-build", "--no-deps", "worker", "webui")
    wait_until(lambda: "no endpoint" in project.logs("worker"))
    project.up()
    wait_until_shared(project, 1)
    assert project.restarts() == 0
    project.up(RNGS=3, HASHERS=3)
    wait_until_shared(project, 3)


@pytest.mark.parametrize(
    ("lose", "find"),
    [
        (["kill"], ["start"]),
        (["pause"], ["unpause"]),
        (["network", "disconnect"], ["network", "connect"]),
    ],
    ids=["killed", "frozen", "cut off"],
)
def test_the_others_take_over_from_one_of_three_until_it_is_back(
    project: ComposeProject, lose: list[str], find: list[str]
) -> None:
    lost = {service: project.containers(service)[1]["Id"] for service in SERVICES}
    network = [f"{project.name}_back"] if "network" in lose else []
    for replica in lost.values():
        docker(*lose, *network, replica)
    wait_until_shared(project, 2)
    for service, replica in lost.items():
        docker(*find, *(["--alias", service] if network else []), *network, replica)
    wait_until_shared(project, 3)


def test_replicas_are_removed_and_created_again_and_every_hash_is_counted_once(project: ComposeProject) -> None:
    wait_until(lambda: set(health(project)) == {"healthy"})  # those that were frozen, too
    for number in range(REMOVALS // len(SERVICES)):
        for service in SERVICES:
            replica = project.containers(service)[number % 3]["Id"]
            if number % 2:
                docker("stop", replica)
            docker("rm", "--force", replica)
        project.up()
    wait_until_shared(project, 3)
    project.stop("worker")
    [worker] = project.containers("worker")
    assert (worker["State"]["ExitCode"], worker["RestartCount"]) == (0, 0)
    # webui reads the last report a moment after it is counted.
    wait_until(lambda: project.hashes() == project.hashes_logged(), story=project.logs)


@pytest.fixture(scope="module")
def image(engine: None) -> Iterator[str]:
    """The image of compose.yaml, or where it is not there and can't be pulled, a stand-in."""
    [named] = re.findall(r"PROMETHEUS_IMAGE:-([^}]+)}", (ROOT / "compose.yaml").read_text())
    for words in (("image", "inspect", named), ("pull", "--quiet", named)):
        try:
            docker(*words, limit=300)
        except subprocess.SubprocessError:
            continue
        yield named
        return
    built = f"e2e-prometheus:{secrets.token_hex(4)}"
    docker("build", "--quiet", "--tag", built, "--file", str(STAND_IN), str(STAND_IN.parent), limit=600)
    yield built
    docker("image", "rm", "--force", built)


def wait_until_found(prometheus: PrometheusApi, replicas: dict[str, int]) -> None:
    """Wait until exactly these numbers of targets are up."""
    up = Counter({(service, "up"): number for service, number in replicas.items()})
    prometheus.until(
        lambda: Counter((target.split()[0], state) for target, state in prometheus.targets().items()) == up,
        FOUND_LIMIT_S,
    )


def test_every_replica_is_found_until_it_is_gone_and_the_rules_run(project: ComposeProject, image: str) -> None:
    port = free_port()
    prometheus = PrometheusApi(port)
    project.up(HASHERS=1, PROMETHEUS_IMAGE=image, PROMETHEUS_PORT=port, COMPOSE_PROFILES="observability")
    for rngs in (2, 1):
        project.up(RNGS=rngs)
        wait_until_found(prometheus, {"rng": rngs, "hasher": 1, "worker": 1, "webui": 1})
    prometheus.until(lambda: prometheus.query("dockercoins:hashes:rate1m > 0"), FOUND_LIMIT_S)
    assert prometheus.firing() == set()
    project.stop("prometheus")
    assert project.containers("prometheus")[0]["State"]["ExitCode"] == 0


def test_a_worker_that_can_not_mine_fails_the_start(project: ComposeProject, tmp_path: Path) -> None:
    quick = tmp_path / "health.json"
    quick.write_text(json.dumps({"services": {"worker": {"healthcheck": {"start_period": "3s", "interval": "4s"}}}}))
    project.files.append(quick)
    project.settings["RNG_TARGET"] = "dns:///nowhere:50051"
    done = project.run("up", "--detach", "--wait", "--no-build", "--no-deps", "worker")
    assert done.returncode == 1
    assert "worker" in done.stderr.splitlines()[-1]
    assert project.restarts() == 0
