"""How soon pods and their shares are there, and nodes that are drained or switched off, and name servers that restart.

Each test begins with an empty namespace.
"""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support import programs
from support.cluster import START_LIMIT_S, Cluster
from support.kubernetes import KUBECTL
from support.kubernetes_page import Section
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty")

# From `apply` to the worker's roll-out.
ROLL_OUT_S = 15

# For a batch's share: in each second, a worker does some thirty batches.
QUICK = {"configMapGenerator": [{"name": "settings", "behavior": "merge", "literals": ["DELAY=0.01"]}]}

# From the readiness of a new replica to its share.
SHARE_LIMIT_S = 1.5
SHARE = 0.2

# Prints a worker's completed batches of each rng ten times a second, for a time.
READ_BATCHES = r"""
import json, re, time, urllib.request
COMPLETED = re.compile(r'^dockercoins_worker_completed_batches_total\{replica="(.*)",service="rng"\} (\S+)$', re.M)
until = time.time() + 25
while time.time() < until:
    text = urllib.request.urlopen("http://127.0.0.1:9103/metrics").read().decode()
    counts = {name: float(count) for name, count in COMPLETED.findall(text)}
    print(json.dumps([time.time(), counts]), flush=True)
    time.sleep(0.1)
"""

# From the deletion of all pods to the full speed.
RECOVERY_S = 25

# The page's section about what is done to nodes.
PODS = "When pods do not come, or go"

DNS = ("--namespace", "kube-system", "deployment/coredns")


def lowest(cluster: Cluster, began: float) -> list[float]:
    """Return the seconds since then, and print the lowest."""
    seconds = cluster.seconds(time.monotonic() - began)
    print("lowest second", min(seconds), "of", *(f"{speed:.0f}" for speed in seconds))  # noqa: T201
    return seconds


def addresses(node: dict[str, dict[str, list[dict[str, str]]]]) -> set[str]:
    return {each["address"] for each in node["status"]["addresses"]}


def other_node(cluster: Cluster) -> str:
    """Return a node that has no API server."""
    [kubernetes] = cluster.get(
        "endpointslices", "--namespace", "default", "--selector", "kubernetes.io/service-name=kubernetes"
    )
    servers = {address for each in kubernetes["endpoints"] for address in each["addresses"]}
    names = [node["metadata"]["name"] for node in cluster.get("nodes") if not servers & addresses(node)]
    if not names:
        pytest.skip("this cluster has a single node")
    return str(names[0])


def docker(*words: str) -> "subprocess.CompletedProcess[str]":
    return programs.run("docker", *words)


@contextmanager
def switched_off(cluster: Cluster, name: str) -> Iterator[None]:
    """Switch a node off, as with its power switch, if it is a container of this machine.

    Its peers get no notice: unlike a kill, this closes no connection.
    """
    if docker("exec", name, "ip", "link", "set", "eth0", "down").returncode != 0:
        pytest.skip("the nodes of this cluster are no containers of this machine")
    docker("kill", name)
    try:
        yield
    finally:
        docker("start", name)
        cluster.kubectl("wait", f"node/{name}", "--for=condition=Ready", "--timeout=120s", limit_s=130)


@contextmanager
def cordoned(cluster: Cluster, name: str) -> Iterator[None]:
    cluster.kubectl("cordon", name)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", name)
        # Until a controller has removed the taint, no pod is scheduled there.
        field = ("get", "node", name, "--output", "jsonpath={.spec.taints}")
        wait_until(lambda: "unschedulable" not in cluster.kubectl(*field))


def node_of(cluster: Cluster, app: str) -> str:
    [pod] = cluster.pods(app)
    return str(pod["spec"]["nodeName"])


def test_worker_is_rolled_out_soon_after_the_overlay_is_applied(cluster: Cluster) -> None:
    began = time.monotonic()
    cluster.apply_overlay("classic")
    cluster.roll_out("deployment/worker")
    took = time.monotonic() - began
    print(f"worker rolled out {took:.1f} s after apply")  # noqa: T201
    assert took < ROLL_OUT_S


def test_each_new_rng_has_its_share_soon_after_its_pod_is_ready(cluster: Cluster) -> None:
    cluster.apply_own(**QUICK)
    cluster.roll_out_all()
    cluster.wait_until_mining()
    path = 'jsonpath={.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
    watching = (KUBECTL, "get", "pods", "--selector", "app=rng", "--watch", "--output", path)
    reading = (KUBECTL, "exec", "deployment/worker", "--", "python", "-c", READ_BATCHES)
    ready: dict[str, float] = {}

    def note_readiness(watch: "subprocess.Popen[bytes]") -> None:
        assert watch.stdout is not None
        for line in watch.stdout:
            name, _, state = line.decode().strip().partition(" ")
            if state == "True":
                ready.setdefault(name, time.time())

    with (
        cluster.start(*reading, stdout=subprocess.PIPE) as reader,
        cluster.start(*watching, stdout=subprocess.PIPE) as watch,
    ):
        noting = threading.Thread(target=note_readiness, args=(watch,))
        noting.start()
        time.sleep(3)
        cluster.kubectl("scale", "deployment", "rng", "--replicas", 3)
        output, _ = reader.communicate()
        watch.terminate()
        noting.join()
    samples: list[tuple[float, dict[str, float]]] = [json.loads(line) for line in output.splitlines()]
    assert len(ready) == 3

    def share(name: str, first: int) -> float:
        """Return a replica's part of the second that begins with a sample."""
        at, before = samples[first]
        after = next((counts for later, counts in samples[first:] if later >= at + 1), before)
        grown = {each: after[each] - before.get(each, 0) for each in after}
        return grown.get(name, 0) / (sum(grown.values()) or 1)

    for name in sorted(ready, key=lambda each: ready[each])[1:]:
        fair = next(at for first, (at, _) in enumerate(samples) if at > ready[name] and share(name, first) >= SHARE)
        print(f"{name} had its share {fair - ready[name]:.1f} s after its readiness")  # noqa: T201
        assert fair - ready[name] < SHARE_LIMIT_S


def start_ten_workers(cluster: Cluster, servers: int) -> None:
    """Start ten workers and so many rngs and hashers, and wait until they do what these can do."""
    cluster.apply_overlay("classic")
    cluster.kubectl("scale", "deployment", "worker", "--replicas", 10)
    cluster.kubectl("scale", "deployment", "rng", "hasher", "--replicas", servers)
    cluster.roll_out_all()
    cluster.wait_for_speed(10 * servers)


def test_full_speed_is_back_soon_after_all_pods_are_deleted(cluster: Cluster) -> None:
    start_ten_workers(cluster, 2)
    began = time.monotonic()
    cluster.kubectl("delete", "pods", "--all", "--wait=false")
    time.sleep(RECOVERY_S + 10)
    seconds = lowest(cluster, began)
    assert sum(seconds[RECOVERY_S:]) / len(seconds[RECOVERY_S:]) > 0.9 * 20


def test_the_only_rng_and_redis_are_replaced_without_a_second_under_half(cluster: Cluster) -> None:
    start_ten_workers(cluster, 1)
    for words in (
        ("rollout", "restart", "deployment", "rng"),
        ("delete", "pod", "--selector", "app=rng"),
        ("delete", "pod", "redis-0"),
    ):
        began = time.monotonic()
        cluster.kubectl(*words)
        cluster.roll_out_all()
        cluster.wait_until_stopped()
        time.sleep(2)
        seconds = lowest(cluster, began)
        assert min(seconds) > 5, (words, seconds)


def test_a_node_is_drained_of_the_only_rng_and_hasher(cluster: Cluster) -> None:
    start_ten_workers(cluster, 1)
    for service in ("rng", "hasher"):
        # After a drain all pods are on the other node, and one that has to start all at once takes longer than an old
        # rng waits.
        cluster.kubectl("rollout", "restart", "deployment")
        cluster.roll_out_all()
        cluster.wait_until_stopped()
        cluster.wait_for_speed(10)
        name = node_of(cluster, service)
        began = time.monotonic()
        try:
            Section(cluster, PODS).run_only("kubectl drain", NODE=name)
        finally:
            cluster.kubectl("uncordon", name)
        cluster.roll_out_all()
        time.sleep(5)
        seconds = lowest(cluster, began)
        assert min(seconds) > 5, seconds


def test_name_servers_that_restart_four_times_leave_no_second_under_four_fifths(cluster: Cluster) -> None:
    start_ten_workers(cluster, 2)
    began = time.monotonic()
    for _ in range(4):
        cluster.kubectl("rollout", "restart", *DNS)
        cluster.kubectl("rollout", "status", *DNS, "--timeout=120s")
    time.sleep(3)
    seconds = lowest(cluster, began)
    assert min(seconds) >= 16, seconds


def test_a_node_with_one_of_two_rngs_and_hashers_is_switched_off(cluster: Cluster) -> None:
    """Four workers do 13.3 hashes/s with two rngs, and 10 with one."""
    node = other_node(cluster)
    with cordoned(cluster, node):
        cluster.kubectl("rollout", "restart", *DNS)
        cluster.apply_overlay("classic")
        cluster.scale("worker", 4)
        cluster.roll_out_all()
        cluster.kubectl("rollout", "status", *DNS, "--timeout=120s")
    cluster.kubectl("scale", "deployment", "rng", "hasher", "--replicas", 2)
    cluster.roll_out_all()
    assert [
        pod["metadata"]["labels"]["app"] for pod in cluster.get("pods", "--field-selector", f"spec.nodeName={node}")
    ] == ["hasher", "rng"]
    cluster.wait_for_speed(4 / 0.3)
    with switched_off(cluster, node):
        began = time.monotonic()
        time.sleep(20)
        seconds = lowest(cluster, began)
        assert sum(speed < 4 / 0.3 / 2 for speed in seconds) <= 3, seconds
        cluster.assert_nothing_lost()


def test_redis_comes_back_from_a_node_that_is_switched_off(cluster: Cluster) -> None:
    node = other_node(cluster)
    with cordoned(cluster, node):
        cluster.apply_overlay("classic")
        cluster.roll_out_all()
    [here] = {pod["spec"]["nodeName"] for pod in cluster.get("pods")}
    with cordoned(cluster, here):
        cluster.kubectl("delete", "pod", "redis-0")
        cluster.roll_out_all()
    assert node_of(cluster, "redis") == node
    cluster.wait_until_mining()
    with switched_off(cluster, node):
        section = Section(cluster, PODS)
        section.run_only("kubectl taint", NODE=node)
        try:
            section.run_only("kubectl delete pod redis-0")
            wait_until(lambda: cluster.pods("redis"), START_LIMIT_S)
            cluster.roll_out_all()
            assert node_of(cluster, "redis") == here
            before = cluster.hashes
            wait_until(lambda: cluster.hashes > before, 30)
        finally:
            cluster.kubectl("taint", "node", node, "node.kubernetes.io/out-of-service-")
        cluster.assert_nothing_lost()
