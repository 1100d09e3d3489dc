"""docs/kubernetes.md, section by section: every command as written and in its order, and what the page promises of it.

Each test begins with an empty namespace.
"""

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml
from support import programs
from support.cluster import RESTRICTED, START_LIMIT_S, Cluster
from support.free_port import free_port
from support.kubernetes_page import BLOCKS, Section
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("empty")

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

RUNNING = ("--field-selector", "status.phase=Running")

# Prints the serial number of the certificate that rng presents to a worker.
READ_SERIAL = """
import socket, ssl
context = ssl.create_default_context(cafile="/run/certs/ca.crt")
context.load_cert_chain("/run/certs/tls.crt", "/run/certs/tls.key")
context.set_alpn_protocols(["h2"])
with context.wrap_socket(socket.create_connection(("rng", 50051)), server_hostname="rng") as connection:
    print(connection.getpeercert()["serialNumber"])
"""


@contextmanager
def running(cluster: Cluster, command: str) -> Iterator[None]:
    """Run a command that goes on, until the context ends."""
    shell = cluster.start("setsid", "bash", "-c", command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        programs.run("pkill", "-KILL", "--session", shell.pid)
        shell.wait()


def wait_for_page(port: int, path: str) -> None:
    def responds() -> bool:
        try:
            return bool(DIRECT.open(f"http://127.0.0.1:{port}{path}", timeout=2).read())
        except OSError:
            return False

    wait_until(responds, 60)


def test_from_nothing_to_running(cluster: Cluster) -> None:
    section = Section(cluster, "From nothing to running")
    section.run("kubectl get namespace")  # made already
    section.run("kubectl label namespace")
    section.run("kubectl config")
    section.run("kubectl apply")
    assert "successfully rolled out" in section.run("kubectl rollout status")
    cluster.roll_out_all()
    port = free_port()
    with running(cluster, section.command().replace("8000;", f"{port}:8000;")):
        wait_for_page(port, "/json")
        cluster.kubectl("rollout", "restart", "deployment", "webui")
        cluster.roll_out("deployment/webui")
        [pod] = cluster.pods("webui")
        # The forward to the old pod ends with it, and the next one reaches the new pod.
        wait_until(lambda: len(cluster.get("pods", "--selector", "app=webui")) == 1, 60)
        wait_for_page(port, "/json")
    section.run("kubectl create secret docker-registry")
    section.run("kubectl patch serviceaccount")
    cluster.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
    cluster.roll_out_all()
    [pod] = cluster.pods("webui")
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]

    # The section ends with the step from a Deployment to a DaemonSet.
    cluster.scale("worker", 4)
    cluster.apply_own("rng-daemonset")
    cluster.roll_out("daemonset/rng")
    section.run("kubectl delete deployment,poddisruptionbudget,horizontalpodautoscaler")
    nodes = len(cluster.get("nodes"))
    wait_until(lambda: len(cluster.get("pods", "--selector", "app=rng")) == nodes, START_LIMIT_S)
    cluster.wait_for_speed(min(4 / 0.3, 10 * nodes))
    section.end()


def images(cluster: Cluster, app: str) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in cluster.pods(app)}


def test_play_with_it(cluster: Cluster) -> None:
    cluster.apply_overlay("classic")
    cluster.roll_out_all()
    section = Section(cluster, "Play with it")
    section.run("kubectl scale deployment worker")
    section.run("kubectl scale deployment rng")
    cluster.roll_out_all()
    cluster.wait_for_speed(20)
    assert "Running" in section.run("kubectl get pods")
    assert "units of work done" in section.run("kubectl logs")
    addresses = {pod["status"]["podIP"] for pod in cluster.pods("rng")}
    assert set(re.findall(r"^(\S+) +STREAM", section.run("kubectl exec"), re.MULTILINE)) == addresses
    section.run("kubectl delete pod")
    cluster.roll_out_all()
    cluster.apply_overlay("classic")
    numbers = {each["metadata"]["name"]: each["spec"]["replicas"] for each in cluster.get("deployments")}
    assert numbers == {"hasher": 1, "rng": 2, "webui": 1, "worker": 10}, "applied again, the numbers are kept"

    section.run("kubectl set image")
    section.run("kubectl rollout status")
    assert images(cluster, "rng") == {"dockercoins-grpc/rng:v2"}
    section.run("kubectl rollout undo")
    cluster.roll_out_all()
    assert images(cluster, "rng") == {"dockercoins-grpc/rng:dev"}
    assert "kubernetes" in section.run("kubectl get configmap coredns")
    section.run("kubectl delete -k")
    assert [claim["metadata"]["name"] for claim in cluster.get("persistentvolumeclaims")] == ["data-redis-0"]
    section.run("kubectl delete persistentvolumeclaim")
    section.end()
    wait_until(lambda: not cluster.get("pods"), START_LIMIT_S)


def test_the_full_pace_mines_and_leaves_one_replica_each(cluster: Cluster) -> None:
    cluster.apply_own("full")
    cluster.roll_out_all()
    cluster.wait_until_mining()
    assert {len(cluster.pods(name)) for name in ("rng", "hasher", "worker")} == {2}
    # More than any small cluster has room for: the old pods go on.
    cluster.kubectl("scale", "deployment", "worker", "--replicas", 60)
    wait_until(lambda: any("Insufficient cpu" in message for message in cluster.warnings()), 60)
    cluster.wait_until_mining()
    cluster.apply_overlay("classic")
    numbers = {each["metadata"]["name"]: each["spec"]["replicas"] for each in cluster.get("deployments")}
    assert numbers == {"hasher": 1, "rng": 1, "webui": 1, "worker": 1}


def test_prometheus_reaches_every_replica_through_the_policies(cluster: Cluster) -> None:
    section = Section(cluster, "Metrics")
    section.run("kubectl apply")
    cluster.roll_out_all()
    port = free_port()
    with running(cluster, re.sub(r"9090$", f"{port}:9090", section.command())):
        wait_for_page(port, "/-/ready")
    section.end()

    def all_are_up() -> bool:
        query = ("promtool", "query", "instant", "http://localhost:9090", "up")
        found = cluster.kubectl("exec", "deployment/prometheus", "--", *query)
        up = set(re.findall(r'service="(\w+)"\} => 1 @', found))
        return up == {"rng", "hasher", "worker", "webui"} and "=> 0 @" not in found

    wait_until(all_are_up, START_LIMIT_S)


def scaler(cluster: Cluster, name: str) -> tuple[bool, int]:
    """Return whether an autoscaler reads its metric, and how many replicas it wants."""
    [found] = cluster.get("horizontalpodautoscalers", "--field-selector", f"metadata.name={name}")
    conditions = {each["type"]: each["status"] for each in found["status"].get("conditions", ())}
    return conditions.get("ScalingActive") == "True", found["status"].get("desiredReplicas", 0)


def test_workers_are_scaled_to_what_an_rng_serves(cluster: Cluster) -> None:
    """With one rng, up to four. The first ones come after some two minutes."""
    selector = ("--all-namespaces", "--selector", "app.kubernetes.io/name=prometheus-adapter")
    adapters = cluster.get("deployments", *selector)
    if not adapters:
        pytest.skip("this cluster has no prometheus-adapter")
    [adapter] = adapters
    [container] = adapter["spec"]["template"]["spec"]["containers"]
    url = f"--prometheus-url=http://prometheus.{cluster.namespace}.svc:9090"
    args = [url if each.startswith("--prometheus-url") else each for each in container["args"]]
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": args}]
    where = ("--namespace", adapter["metadata"]["namespace"], f"deployment/{adapter['metadata']['name']}")
    cluster.kubectl("patch", *where, "--type", "json", "--patch", json.dumps(patch))
    cluster.kubectl("rollout", "status", *where, "--timeout=60s")
    cluster.apply_own("observability", "autoscaling-worker")
    cluster.roll_out_all()
    wait_until(lambda: scaler(cluster, "worker")[0], START_LIMIT_S)
    wait_until(lambda: 2 <= scaler(cluster, "worker")[1] <= 5, START_LIMIT_S, lambda: scaler(cluster, "worker"))


def test_rngs_and_hashers_are_scaled_by_their_cpu(cluster: Cluster) -> None:
    cluster.apply_own("full", "autoscaling")
    for name in ("rng", "hasher"):
        wait_until(lambda name=name: scaler(cluster, name)[0], START_LIMIT_S)  # type: ignore[misc]
        assert 2 <= scaler(cluster, name)[1] <= 8
    cluster.roll_out_all()
    cluster.wait_until_mining()


def test_tls_and_a_renewal(cluster: Cluster) -> None:
    section = Section(cluster, "TLS")
    make, apply = section.command(), section.command()

    def renew() -> str:
        return programs.run("bash", "-c", f"{make} && {apply}", cwd=cluster.folder, env=cluster.environment()).stdout

    def serial() -> str:
        return cluster.run("exec", "deployment/worker", "--", "python", "-c", READ_SERIAL).stdout

    assert "secret/rng-tls created" in renew()
    section.run("kubectl apply -k deploy")
    cluster.roll_out_all()
    cluster.wait_until_mining()
    first = serial()
    assert first
    # As if they were about to expire.
    for name in ("rng", "redis"):
        (cluster.folder / "certs" / name / f"{name}.pem").unlink()
    assert "certs: rng/rng.pem, redis/redis.pem\n" in renew()
    section.run("kubectl rollout restart")
    section.end()
    cluster.roll_out_all()
    wait_until(lambda: serial() not in ("", first), START_LIMIT_S)
    cluster.wait_until_mining()
    assert cluster.restarts == []


def test_quotas_and_limits(cluster: Cluster) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}}
    cluster.apply(quota | {"spec": {"hard": {"limits.cpu": "8"}}})
    cluster.apply_overlay("classic")
    section = Section(cluster, "When pods do not come, or go")
    seen = section.command()

    def says_why() -> bool:
        done = programs.run("bash", "-c", seen, cwd=cluster.folder, env=cluster.environment())
        return "must specify limits.cpu" in done.stdout

    wait_until(says_why, 60)
    assert cluster.get("pods") == []
    cluster.clear()

    limit = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limit"}}
    cluster.apply(limit | {"spec": {"limits": [{"type": "Container", "default": {"cpu": "250m"}}]}})
    cluster.apply_overlay("classic")
    cluster.roll_out_all()
    cluster.wait_for_speed(10 / 3)
    assert cluster.restarts == []


def test_user_ids_that_the_cluster_chooses(cluster: Cluster) -> None:
    own = {"runAsUser": 1_000_650_000, "runAsGroup": 0, "fsGroup": 1_000_650_000}
    patch = [{"op": "replace", "path": f"/spec/template/spec/securityContext/{key}", "value": own[key]} for key in own]
    patches = [
        {"target": {"kind": "Deployment"}, "patch": str(patch[:2]).replace("'", '"')},
        {"target": {"kind": "StatefulSet"}, "patch": str(patch).replace("'", '"')},
    ]
    cluster.apply_own(patches=patches)
    cluster.roll_out_all()
    cluster.wait_for_speed(10 / 3)


def test_a_prefix_of_names_works_with_the_settings_that_the_page_names(cluster: Cluster) -> None:
    targets = ["RNG_TARGET=my-rng:50051", "HASHER_TARGET=my-hasher:50151", "REDIS_URL=redis://my-redis:6379"]
    settings = {"name": "settings", "behavior": "merge", "literals": targets}
    cluster.apply_own(namePrefix="my-", configMapGenerator=[settings])
    cluster.roll_out_all()
    cluster.wait_until_mining()


def test_a_redis_elsewhere_needs_the_policy_of_the_page(cluster: Cluster) -> None:
    redis = {
        "name": "redis",
        "image": "redis:8",
        "args": ["redis-server", "--save", ""],
        "securityContext": RESTRICTED,
    }
    spec = {"containers": [redis]}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "elsewhere"}, "spec": spec})
    cluster.kubectl("wait", "pod/elsewhere", "--for=condition=Ready", "--timeout=120s", limit_s=130)
    [pod] = cluster.get("pods", "--field-selector", "metadata.name=elsewhere")
    address = pod["status"]["podIP"]
    setting = f"REDIS_URL=redis://{address}:6379"
    cluster.apply_own(configMapGenerator=[{"name": "settings", "behavior": "merge", "literals": [setting]}])
    wait_until(lambda: cluster.get("pods", "--selector", "app=worker", *RUNNING), START_LIMIT_S)
    assert cluster.connect_from("deployment/worker", (address, 6379)) == ["refused 6379"]
    (policy,) = (each for each in map(yaml.safe_load, BLOCKS) if each["kind"] == "NetworkPolicy")
    assert policy["spec"]["egress"][0]["to"][0]["ipBlock"].pop("cidr")
    policy["spec"]["egress"][0]["to"][0]["ipBlock"]["cidr"] = f"{address}/32"
    cluster.apply(policy)
    cluster.roll_out_all()
    cluster.wait_until_mining()
    assert int(cluster.kubectl("exec", "elsewhere", "--", "redis-cli", "get", "hashes")) > 0
    assert cluster.hashes == 0


def test_the_page_has_a_port_of_every_node(cluster: Cluster) -> None:
    cluster.apply_own("node-port")
    cluster.roll_out_all()
    port = cluster.get("services", "--field-selector", "metadata.name=webui")[0]["spec"]["ports"][0]["nodePort"]
    hosts = [node["status"]["addresses"][0]["address"] for node in cluster.get("nodes")]
    assert set(cluster.connect_as_stranger(*((host, port) for host in hosts))) == {f"open {port}"}
    (ingress,) = (each for each in map(yaml.safe_load, BLOCKS) if each["kind"] == "Ingress")
    cluster.apply(ingress)
    cluster.kubectl("delete", "ingress", "webui")
    cluster.kubectl("delete", "pod", "stranger")


def test_forty_workers_at_once_become_ready_without_a_restart(cluster: Cluster) -> None:
    cluster.apply_overlay("classic")
    cluster.roll_out_all()
    cluster.kubectl("scale", "deployment", "worker", "--replicas", 40)
    cluster.roll_out_all()
    assert len(cluster.pods("worker")) == 40
    assert cluster.restarts == []
