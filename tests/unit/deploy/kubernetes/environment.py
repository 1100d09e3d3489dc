"""The variables that a pod's container gets."""

from collections.abc import Sequence

from unit.deploy.kubernetes.pods import Pod
from unit.deploy.kubernetes.rendered import Object, of_kind

FROM_POD = {"metadata.name": "rng-0"}
"""What the cluster fills in: an example of it."""


def own(pod: Pod) -> dict[str, str]:
    """Those that are said for it alone."""
    return {
        each["name"]: each["value"] if "value" in each else FROM_POD[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for each in pod.container.get("env", [])
    }


def shared(pod: Pod, objects: Sequence[Object]) -> dict[str, str]:
    """Those of ConfigMaps."""
    wanted = {each["configMapRef"]["name"] for each in pod.container.get("envFrom", [])}
    found = [each["data"] for each in of_kind(objects, "ConfigMap") if each["metadata"]["name"] in wanted]
    return {name: value for data in found for name, value in data.items()}


def environment(pod: Pod, objects: Sequence[Object]) -> dict[str, str]:
    """All of them."""
    return {**shared(pod, objects), **own(pod)}
