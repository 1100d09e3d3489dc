"""The pods that workloads make."""

from collections.abc import Sequence
from dataclasses import dataclass

from unit.deploy.kubernetes.rendered import Object, name_of, of_kind

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")

SERVICES = ("rng", "hasher", "worker", "webui")
"""Those whose code is here."""


@dataclass(frozen=True)
class Pod:
    """Of one workload, with its one container."""

    workload: Object

    @property
    def name(self) -> str:
        """The workload's."""
        return str(self.workload["metadata"]["name"])

    @property
    def what(self) -> str:
        """As kubectl names its workload."""
        return name_of(self.workload)

    @property
    def labels(self) -> dict[str, str]:
        """The pod's own."""
        return dict(self.workload["spec"]["template"]["metadata"]["labels"])

    @property
    def spec(self) -> Object:
        """The pod's."""
        return dict(self.workload["spec"]["template"]["spec"])

    @property
    def containers(self) -> list[Object]:
        """Of all kinds."""
        return [each for kind in ("containers", "initContainers") for each in self.spec.get(kind, [])]

    @property
    def container(self) -> Object:
        """The only one."""
        (only,) = self.containers
        return only

    @property
    def ports(self) -> dict[str, int]:
        """By name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def port(self, said: str | int) -> int | None:
        """The number of a port that is said by its number or its name."""
        return said if isinstance(said, int) else self.ports.get(said)

    @property
    def replicas(self) -> int | None:
        """So many, when it is made; None where that is the cluster's matter."""
        return None if self.workload["kind"] == "DaemonSet" else int(self.workload["spec"].get("replicas", 1))


def pods(objects: Sequence[Object]) -> list[Pod]:
    """One for each workload."""
    return [Pod(each) for each in of_kind(objects, *WORKLOADS)]
