"""Images are those of compose.yaml, with no registry in their names, and run as it runs them."""

import re
from collections.abc import Sequence

import yaml
from support.compose_project import ROOT
from unit.deploy.kubernetes.pods import pods
from unit.deploy.kubernetes.rendered import Object

_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


def composed() -> dict[str, Object]:
    """The services of compose.yaml, where no variable is set."""
    text = _DEFAULT.sub(r"\1", (ROOT / "compose.yaml").read_text())
    return dict(yaml.safe_load(text)["services"])


def complaints(objects: Sequence[Object]) -> list[str]:
    """About images."""
    services = composed()
    found = []
    for pod in pods(objects):
        if pod.container["image"] != services[pod.name]["image"]:
            found.append(f"{pod.what}: its image is {pod.container['image']}, not {services[pod.name]['image']}")
        if pod.container.get("imagePullPolicy", "IfNotPresent") != "IfNotPresent":
            found.append(f"{pod.what}: an image that was loaded into a node is not used")
    return found
