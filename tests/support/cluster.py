"""DockerCoins in a namespace of a real Kubernetes cluster, by kubectl alone."""

import contextlib
import json
import os
import re
import subprocess
import threading
import time
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


# What a pod that is none of ours runs.
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
        self._stop = threading.Event()

    def environment(self) -> dict[str, str]:
        path = f"{KUBECTL.parent}:{os.environ['PATH']}"
        return programs.environment(KUBECONFIG=self._config, PATH=path, PYTHONPATH=ROOT)

    def run(self, *words: object, limit_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run kubectl to its end, whatever its exit code."""
        return programs.run(KUBECTL, *words, cwd=self.folder, env=self.environment(), timeout=limit_s)

    def kubectl(self, *words: object, limit_s: float = 120) -> str:
        """Return what kubectl prints. Raises AssertionError with its error when it fails."""
        done = self.run(*words, limit_s=limit_s)
        assert done.returncode == 0, f"kubectl {words}: {done.stderr}"
        return done.stdout

    def apply(self, made: object) -> None:
        """Apply an object."""
        (self.folder / "object.json").write_text(json.dumps(made))
        self.kubectl("apply", "--filename", "object.json")

    def get(self, *words: object) -> list[dict[str, Any]]:
        """Return objects."""
        return list(json.loads(self.kubectl("get", *words, "--output", "json"))["items"])

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make the namespace, collect the workers' logs, and remove all of it at the end."""
        self.kubectl("create", "namespace", self.namespace)
        try:
            self.kubectl("label", "namespace", self.namespace, "pod-security.kubernetes.io/enforce=restricted")
            self.kubectl("config", "set-context", "--current", "--namespace", self.namespace)
            following = threading.Thread(target=self._follow_workers)
            following.start()
            try:
                yield
            finally:
                self._stop.set()
                following.join()
        finally:
            self.kubectl("delete", "namespace", self.namespace, limit_s=180)

    def _follow_workers(self) -> None:
        while not self._stop.wait(0.5):
            done = self.run("get", "pods", "--selector", "app=worker", "--output", "name")
            for name in done.stdout.split():
                if name not in self._logs or self._logs[name].poll() not in (None, 0):
                    with (self.folder / f"{Path(name).name}.log").open("wb") as log:
                        self._logs[name] = subprocess.Popen(
                            [KUBECTL, "logs", "--follow", name],
                            stdout=log,
                            env=self.environment(),
                            stderr=subprocess.DEVNULL,
                        )
        for following in self._logs.values():
            following.terminate()
            following.wait()

    @property
    def units_logged(self) -> int:
        """The sum of the workers' "N units of work done", once all that have stopped have been read to their ends."""
        texts = [path.read_text() for path in self.folder.glob("worker-*.log")]
        return sum(int(units) for text in texts for units in re.findall(r"(\d+) units of work done", text))

    def wait_for_logs(self) -> None:
        """Wait until all workers are gone and their logs are read."""
        wait_until(lambda: not self.get("pods", "--selector", "app=worker"), START_LIMIT_S)
        wait_until(lambda: all(each.poll() is not None for each in self._logs.values()), START_LIMIT_S)

    def roll_out(self, *workloads: str) -> None:
        """Wait until workloads are rolled out."""
        for each in workloads:
            self.kubectl("rollout", "status", each, "--timeout", f"{START_LIMIT_S:g}s", limit_s=START_LIMIT_S + 10)

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

    @property
    def mines(self) -> bool:
        """Whether any worker counts, as its log says; Redis may need a password."""
        done = self.run("logs", "deployment/worker", "--since", "3s")
        return bool(re.search(r"[1-9]\d* units of work done", done.stdout))

    def apply_components(self, *names: str) -> None:
        """Apply the base with components."""
        own = self.folder / "own"
        own.mkdir(exist_ok=True)
        components = [f"../deploy/kubernetes/components/{name}" for name in names]
        made = {"resources": ["../deploy/kubernetes/base"], "components": components}
        (own / "kustomization.yaml").write_text(json.dumps(made))
        self.kubectl("apply", "-k", "own")

    def speed(self, seconds: float = 8) -> float:
        """Return the hashes per second from now on."""
        first, began = self.hashes, time.monotonic()
        time.sleep(seconds)
        return (self.hashes - first) / (time.monotonic() - began)

    def wait_for_speed(self, expected: float, limit_s: float = 60) -> None:
        """Wait until the speed is within a tenth of what is expected."""
        seen: list[float] = []

        def reached() -> bool:
            seen.append(self.speed())
            return abs(seen[-1] / expected - 1) < 0.1

        wait_until(reached, limit_s, lambda: seen)

    def lowest(self, seconds: float) -> float:
        """Return the lowest hashes per second since that many seconds ago, as the page draws them."""
        time.sleep(4)
        history = self.kubectl("exec", "deployment/webui", "--", "python", "-c", READ_HISTORY.format(int(seconds) + 5))
        points: Sequence[Sequence[float]] = json.loads(history)["points"]
        return min(speed for _, speed in points[1:-3] if speed is not None)
