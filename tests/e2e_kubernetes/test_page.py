"""Every command of docs/kubernetes.md, as written and in its order, in a namespace of its own."""

import re
import shlex
import sys
import time

from support import programs
from support.cluster import START_LIMIT_S, Cluster
from support.compose_project import ROOT
from support.waiting import wait_until

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()

COMMANDS = re.findall(r"^    ((?:kubectl|while|make certs) .*)$", PAGE, re.MULTILINE)

# Commands that go on until a person ends them.
ENDLESS = re.compile(r"port-forward|--watch|--follow")


def command_line(command: str, cluster: Cluster) -> str:
    """Return a command of the page for the test's namespace; certificates are made without a checkout's Makefile."""
    if command.startswith("make certs"):
        return f"{shlex.quote(sys.executable)} -m deploy.certs certs {command.partition('ARGS=')[2]}"
    if re.search(r"\bnamespace\b.*\bdockercoins\b", command):
        command = command.replace("create namespace dockercoins", "get namespace dockercoins")
        return command.replace("dockercoins", cluster.namespace)
    return command


def wait_for_all(cluster: Cluster) -> None:
    """Wait until every workload is rolled out, as a reader would before the next step."""
    for kind in ("deployments", "daemonsets", "statefulsets"):
        for each in cluster.get(kind):
            cluster.roll_out(f"{each['kind'].lower()}/{each['metadata']['name']}")


def test_every_command_of_the_page_works_in_its_order(cluster: Cluster) -> None:
    for command in COMMANDS:
        line = ["bash", "-c", command_line(command, cluster)]
        if ENDLESS.search(command):
            done = programs.run("timeout", 6, *line, cwd=cluster.folder, env=cluster.environment())
            assert done.returncode == 124, f"{command}: {done.stdout}{done.stderr}"
            continue
        done = programs.run(*line, cwd=cluster.folder, env=cluster.environment(), timeout=START_LIMIT_S)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        if re.search(r" (apply -k deploy|restart|scale|undo)", command):
            wait_for_all(cluster)
            wait_until(lambda: cluster.mines, START_LIMIT_S)
    cluster.kubectl("delete", "-k", "deploy/kubernetes/overlays/tls", limit_s=180)


def test_the_full_pace_mines(cluster: Cluster) -> None:
    cluster.apply_components("full")
    wait_for_all(cluster)
    wait_until(lambda: cluster.mines, START_LIMIT_S)
    cluster.kubectl("delete", "-k", "own", limit_s=180)


def test_prometheus_reaches_every_replica_through_the_policies(cluster: Cluster) -> None:
    cluster.apply_components("observability")
    wait_for_all(cluster)
    expected = {"rng", "hasher", "worker", "webui"}

    def all_are_up() -> bool:
        query = ("promtool", "query", "instant", "http://localhost:9090", "up")
        found = cluster.kubectl("exec", "deployment/prometheus", "--", *query)
        return set(re.findall(r'service="(\w+)"\} => 1 @', found)) == expected and "=> 0 @" not in found

    wait_until(all_are_up, START_LIMIT_S)


def test_a_daemon_set_replaces_the_deployment_without_a_pause(cluster: Cluster) -> None:
    cluster.apply_components("rng-daemonset")
    cluster.roll_out("daemonset/rng")
    cluster.kubectl("delete", "deployment,poddisruptionbudget,horizontalpodautoscaler", "rng", "--ignore-not-found")
    nodes = len(cluster.get("nodes"))
    wait_until(
        lambda: len(cluster.get("pods", "--selector", "app=rng", "--field-selector", "status.phase=Running")) == nodes,
        START_LIMIT_S,
    )
    wait_until(lambda: cluster.mines, START_LIMIT_S)


def test_the_page_has_a_port_of_every_node(cluster: Cluster) -> None:
    cluster.apply_components("node-port")
    port = cluster.get("services", "--field-selector", "metadata.name=webui")[0]["spec"]["ports"][0]["nodePort"]
    host = cluster.get("nodes")[0]["status"]["addresses"][0]["address"]
    assert cluster.connect_as_stranger((host, port)) == [f"open {port}"]


def test_forty_workers_at_once_become_ready_without_a_restart(cluster: Cluster) -> None:
    cluster.apply_components()
    wait_for_all(cluster)
    began = time.monotonic()
    cluster.kubectl("scale", "deployment", "worker", "--replicas", 40)
    cluster.roll_out("deployment/worker")
    print(f"40 workers were ready after {time.monotonic() - began:.1f} s")  # noqa: T201
    pods = cluster.get("pods", "--selector", "app=worker")
    assert sum(status["restartCount"] for pod in pods for status in pod["status"]["containerStatuses"]) == 0
