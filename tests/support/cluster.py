"""DockerCoins in a namespace of a real Kubernetes cluster, by kubectl alone."""

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import programs
from support.compose_project import ROOT
from support.kubernetes import KUBECTL
from support.waiting import wait_until

# The time in which pods must start on a busy machine.
START_LIMIT_S = 240.0

READ_HISTORY = (
    "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/api/history?seconds={}').read().decode())"
)

# Connects from a pod to each target of its argument.
CONNECT = """
import json, socket, sys
for host, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((host, port), 2).close()
        print("open", port)
    except OSError:
        print("refused", port)
"""

RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}

# Returns "totals:<worker id> <hashes>" of each worker.
SUM_OF_EACH_WORKER = """
local found = {}
for _, key in ipairs(redis.call("keys", "totals:*")) do
  local sum = 0
  for _, hashes in ipairs(redis.call("hvals", key)) do sum = sum + hashes end
  found[#found + 1] = key .. " " .. sum
end
return found
"""

# Returns the hashes, and Redis's time in seconds and microseconds: how long a command takes changes no speed.
READ_COUNT = """
local now = redis.call("time")
return {redis.call("get", "hashes"), now[1], now[2]}
"""

# A speed is that of the last seconds, of which a worker reports one at a time.
SPEED_WINDOW_S = 8.0
SPEED_PAUSE_S = 0.5

WORKLOADS = "deployments,daemonsets,statefulsets"

# All that tests make, but for Secrets.
KINDS = (
    f"{WORKLOADS},horizontalpodautoscalers,poddisruptionbudgets,services,networkpolicies,ingresses"
    ",persistentvolumeclaims,resourcequotas,limitranges"
)


def current_context() -> str:
    """Return the context that kubectl uses, or an empty name if there is none."""
    return programs.run(KUBECTL, "config", "current-context", env=dict(os.environ)).stdout.strip()


class Cluster:
    """A namespace of its own. Commands are those that a reader types, in a folder with the checkout's deploy/."""

    def __init__(self, folder: Path, context: str, namespace: str) -> None:
        self.folder = folder
        self.namespace = namespace
        (folder / "deploy").symlink_to(ROOT / "deploy")
        self._config = folder / "kubeconfig"
        words = ("config", "view", "--flatten", "--minify", "--context", context)
        self._config.write_text(programs.run(KUBECTL, *words, env=dict(os.environ)).stdout)
        self._logs: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self) -> dict[str, str]:
        path = f"{KUBECTL.parent}:{os.environ['PATH']}"
        return programs.environment(KUBECONFIG=self._config, PATH=path, PYTHONPATH=ROOT)

    def run(self, *words: object, limit_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run kubectl to its end, whatever its exit code."""
        return programs.run(KUBECTL, *words, cwd=self.folder, env=self.environment(), timeout=limit_s)

    def start(self, *words: object, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a program that goes on."""
        return subprocess.Popen([*map(str, words)], cwd=self.folder, env=self.environment(), **options)

    def kubectl(self, *words: object, limit_s: float = 120) -> str:
        """Return what kubectl prints. Raises AssertionError with its error when it fails."""
        done = self.run(*words, limit_s=limit_s)
        assert done.returncode == 0, f"kubectl {words}: {done.stderr}"
        return done.stdout

    def apply(self, made: object) -> None:
        """Apply an object."""
        (self.folder / "object.json").write_text(json.dumps(made))
        self.kubectl("apply", "--filename", "object.json")

    def apply_own(self, *components: str, **more: object) -> None:
        """Apply the base with components, in a kustomization of one's own with more fields."""
        own = self.folder / "own"
        own.mkdir(exist_ok=True)
        paths = [f"../deploy/kubernetes/components/{name}" for name in components]
        made = {"resources": ["../deploy/kubernetes/base"], "components": paths, **more}
        (own / "kustomization.yaml").write_text(json.dumps(made))
        self.kubectl("apply", "-k", "own")

    def apply_overlay(self, name: str) -> str:
        """Return what kubectl prints."""
        return self.kubectl("apply", "-k", f"deploy/kubernetes/overlays/{name}")

    def get(self, *words: object) -> list[dict[str, Any]]:
        """Return objects."""
        return list(json.loads(self.kubectl("get", *words, "--output", "json"))["items"])

    def pods(self, app: str) -> list[dict[str, Any]]:
        """Return the pods of a service that are not being deleted."""
        found = self.get("pods", "--selector", f"app={app},app.kubernetes.io/part-of=dockercoins")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    @property
    def restarts(self) -> list[str]:
        """How each container ended before it was restarted, of the pods that are there, and its last lines."""
        return [
            f"{pod['metadata']['name']}: {status['lastState']}\n"
            + self.run("logs", pod["metadata"]["name"], "--previous", "--tail", 20).stdout
            for pod in self.get("pods")
            for status in pod["status"].get("containerStatuses", ())
            if status["restartCount"]
        ]

    def warnings(self) -> list[str]:
        """Return the messages of events that are warnings."""
        return [event["message"] for event in self.get("events", "--field-selector", "type=Warning")]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make the namespace, collect the workers' logs, and remove all of it at the end."""
        self.kubectl("create", "namespace", self.namespace)
        try:
            self.kubectl("label", "namespace", self.namespace, "pod-security.kubernetes.io/enforce=restricted")
            self.kubectl("config", "set-context", "--current", "--namespace", self.namespace)
            words = ("get", "pods", "--selector", "app=worker", "--watch", "--output", "name")
            with self.start(KUBECTL, *words, stdout=subprocess.PIPE) as watch:
                following = threading.Thread(target=self._follow_workers, args=(watch,))
                following.start()
                try:
                    yield
                finally:
                    watch.terminate()
                    following.join()
        finally:
            # A namespace that still has pods goes after half of the time that they may take to stop.
            self.clear()
            self.kubectl("delete", "namespace", self.namespace, limit_s=180)

    def _follow_workers(self, watch: "subprocess.Popen[bytes]") -> None:
        """Follow the log of each worker from the first change of its pod on at which the container has one."""
        assert watch.stdout is not None
        for line in watch.stdout:
            name = line.decode().strip()
            if name not in self._logs or self._logs[name].poll() not in (None, 0):
                with (self.folder / f"{Path(name).name}.log").open("wb") as log:
                    words = ("logs", "--follow", name)
                    self._logs[name] = self.start(KUBECTL, *words, stdout=log, stderr=subprocess.DEVNULL)
        for following in self._logs.values():
            following.terminate()
            following.wait()

    def assert_nothing_lost(self) -> None:
        """Stop the workers, of the classic pace, and compare what each logged with what Redis counted of it.

        A log goes with its pod, on a busy machine before its last lines are read.
        """
        self.kubectl("scale", "deployment", "worker", "--replicas", 0)
        wait_until(lambda: not self.get("pods", "--selector", "app=worker"), START_LIMIT_S)
        wait_until(lambda: all(each.poll() is not None for each in self._logs.values()), START_LIMIT_S)
        counted = Counter[str]()
        for line in self.redis("eval", SUM_OF_EACH_WORKER, 0).splitlines():
            worker, hashes = line.split()
            # Half of a worker's first batch, which is one hash at this pace, is in no total.
            counted[worker.removeprefix("totals:").rpartition("-")[0]] += round(float(hashes) + 0.5)
        assert sum(counted.values()) == self.hashes, f"{counted} are not {self.hashes}"
        whole = 0
        for path in self.folder.glob("worker-*.log"):
            text = path.read_text()
            assert "hashes could not be reported" not in text, text
            logged = sum(map(int, re.findall(r"(\d+) units of work done", text)))
            if '"event": "stopped"' in text:
                whole += 1
                assert logged == counted[path.stem], f"{path.stem} logged {logged}, {counted[path.stem]} are counted"
            else:
                assert logged <= counted[path.stem], f"{path.stem} logged {logged}, {counted[path.stem]} are counted"
        print(f"{whole} of {len(counted)} workers have a whole log")  # noqa: T201
        assert whole > 0

    def roll_out(self, *workloads: str) -> None:
        """Wait until workloads are rolled out. Raises AssertionError with the namespace's warnings."""
        for each in workloads:
            done = self.run("rollout", "status", each, f"--timeout={START_LIMIT_S:g}s", limit_s=START_LIMIT_S + 10)
            assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *self.warnings()])

    def roll_out_all(self) -> None:
        """Wait until every workload is rolled out."""
        kinds = (each for each in self.get(WORKLOADS) if each["spec"].get("replicas") != 0)
        self.roll_out(*(f"{each['kind'].lower()}/{each['metadata']['name']}" for each in kinds))

    def wait_until_stopped(self) -> None:
        """Wait until the pods that are being deleted are gone."""
        stopping = [pod["metadata"]["name"] for pod in self.get("pods") if "deletionTimestamp" in pod["metadata"]]
        if stopping:
            words = ("wait", "pod", *stopping, "--for=delete", f"--timeout={START_LIMIT_S:g}s")
            self.kubectl(*words, limit_s=START_LIMIT_S + 10)

    def clear(self) -> None:
        """Remove everything that kustomizations made, with the counts."""
        self.kubectl("delete", KINDS, "--all", "--wait=false")
        self.kubectl("delete", "pods", "--all", "--grace-period=1", limit_s=180)
        wait_until(lambda: not self.get("pods,persistentvolumeclaims"), START_LIMIT_S)
        for path in self.folder.glob("worker-*.log"):
            path.unlink()

    def scale(self, name: str, replicas: int) -> None:
        self.kubectl("scale", "deployment", name, "--replicas", replicas)
        self.roll_out(f"deployment/{name}")

    def redis(self, *words: object) -> str:
        """Return Redis's reply."""
        return self.kubectl("exec", "redis-0", "--", "redis-cli", *words).strip()

    @property
    def hashes(self) -> int:
        """How many are counted; 0 while Redis does not reply."""
        with contextlib.suppress(AssertionError, ValueError):
            return int(self.redis("get", "hashes"))
        return 0

    def connect_from(self, workload: str, *targets: tuple[str, int]) -> list[str]:
        """Return what the connections of a service of ours come to."""
        words = ("exec", workload, "--", "python", "-c", CONNECT, json.dumps(targets))
        return self.kubectl(*words).splitlines()

    def connect_as_stranger(self, *targets: tuple[str, int]) -> list[str]:
        """Return what the connections come to of the pod `stranger`, which has a label of ours and is none of ours."""
        container = {
            "name": "stranger",
            "image": "dockercoins-grpc/worker:dev",
            "command": ["python", "-c", CONNECT, json.dumps(targets)],
            "securityContext": RESTRICTED,
        }
        labels = {"name": "stranger", "labels": {"app": "redis"}}
        spec = {"restartPolicy": "Never", "containers": [container]}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": labels, "spec": spec})
        ended = ("pods", "--field-selector", "metadata.name=stranger,status.phase=Succeeded")
        wait_until(lambda: self.get(*ended), START_LIMIT_S)
        return self.kubectl("logs", "stranger").splitlines()

    def wait_until_mining(self) -> None:
        """Wait until a worker counts, as its log says; Redis may need a password."""

        def mines() -> bool:
            running = (pod for pod in self.pods("worker") if pod["status"]["phase"] == "Running")
            logs = (self.run("logs", pod["metadata"]["name"], "--since", "3s").stdout for pod in running)
            return any(re.search(r"[1-9]\d* units of work done", log) for log in logs)

        wait_until(mines, START_LIMIT_S)

    def wait_for_speed(self, expected: float) -> None:
        """Wait until the hashes per second of the last seconds are what is expected, on a busy machine a fifth less."""
        samples: list[tuple[float, int]] = []
        speeds: list[float] = []

        def reached() -> bool:
            time.sleep(SPEED_PAUSE_S)
            with contextlib.suppress(AssertionError, ValueError):
                hashes, seconds, microseconds = map(int, self.redis("eval", READ_COUNT, 0).split())
                now = seconds + microseconds / 1e6
                samples.append((now, hashes))
                if earlier := [each for each in samples if each[0] <= now - SPEED_WINDOW_S]:
                    then, before = earlier[-1]
                    speeds.append((hashes - before) / (now - then))
            return bool(speeds) and 0.8 < speeds[-1] / expected < 1.1

        wait_until(reached, START_LIMIT_S, lambda: f"{speeds} instead of {expected}")

    def seconds(self, seconds: float) -> list[float]:
        """Return the hashes per second of each second since then, as the page draws them, and 0 without a worker."""
        time.sleep(4)
        history = self.kubectl("exec", "deployment/webui", "--", "python", "-c", READ_HISTORY.format(int(seconds) + 5))
        points: Sequence[Sequence[float]] = json.loads(history)["points"]
        return [speed or 0.0 for _, speed in points[1:-3]]
