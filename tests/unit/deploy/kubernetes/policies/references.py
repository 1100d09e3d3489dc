"""Whatever is named exists, and every selector selects."""

from collections.abc import Iterator, Mapping, Sequence

from unit.deploy.kubernetes.pods import Pod, pods
from unit.deploy.kubernetes.rendered import Object, name_of, of_kind
from unit.deploy.kubernetes.selector import matches

SECRETS: Mapping[str, set[str]] = {
    **{f"{name}-tls": {"tls.crt", "tls.key", "ca.crt"} for name in ("rng", "hasher", "worker", "webui", "redis")},
    **{f"{name}-redis-password": {"redis-password"} for name in ("worker", "webui")},
    "redis-users": {"users.acl"},
}
"""Those that people make, as docs/kubernetes.md says, with their keys."""


def complaints(objects: Sequence[Object]) -> list[str]:
    """About names that lead nowhere."""
    found = [f"{pod.what}: {each}" for pod in pods(objects) for each in _of_pod(pod, objects)]
    found += [f"{name_of(each)} selects no pod" for each in _selecting_nothing(objects)]
    found += [f"{pod.what} does not select its own pods" for pod in pods(objects) if not _selects_its_own(pod)]
    for service in of_kind(objects, "Service"):
        for port in service["spec"]["ports"]:
            if not all(pod.port(port["targetPort"]) == port["port"] for pod in _selected(service, objects)):
                found.append(f"{name_of(service)}: its port {port['name']} is not its pods'")
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        if not [each for each in of_kind(objects, target["kind"]) if each["metadata"]["name"] == target["name"]]:
            found.append(f"{name_of(scaler)}: there is no {target['kind']} {target['name']}")
    return found


def _of_pod(pod: Pod, objects: Sequence[Object]) -> Iterator[str]:
    maps = {each["metadata"]["name"]: each["data"].keys() for each in of_kind(objects, "ConfigMap")}
    claims = [each["metadata"]["name"] for each in pod.workload["spec"].get("volumeClaimTemplates", [])]
    volumes = {each["name"]: each for each in pod.spec.get("volumes", [])}
    mounts = {each["name"]: each["mountPath"] for each in pod.container.get("volumeMounts", [])}
    yield from (f"there is no volume {name}" for name in mounts.keys() - volumes.keys() - set(claims))
    yield from (f"volume {name} is nowhere" for name in (volumes.keys() | set(claims)) - mounts.keys())
    for each in pod.container.get("envFrom", []):
        if each["configMapRef"]["name"] not in maps:
            yield f"there is no ConfigMap {each['configMapRef']['name']}"
    files = set()
    for volume in volumes.values():
        for kind, name in _sources(volume):
            keys = (maps if kind == "configMap" else SECRETS).get(name)
            if keys is None:
                yield f"there is no {kind} {name}"
            files |= {f"{mounts.get(volume['name'])}/{key}" for key in keys or ()}
    if pod.workload["kind"] == "StatefulSet" and pod.workload["spec"]["serviceName"] not in [
        each["metadata"]["name"] for each in of_kind(objects, "Service")
    ]:
        yield f"there is no Service {pod.workload['spec']['serviceName']}"
    yield from (f"there is no file {path}" for path in _paths(pod, maps, objects) - files)


def _sources(volume: Object) -> Iterator[tuple[str, str]]:
    """What a volume's files are of: kind and name."""
    if "configMap" in volume:
        yield "configMap", volume["configMap"]["name"]
    if "secret" in volume:
        yield "secret", volume["secret"]["secretName"]
    for source in volume.get("projected", {}).get("sources", []):
        yield from ((kind, source[kind]["name"]) for kind in ("configMap", "secret") if kind in source)


def _paths(pod: Pod, maps: Mapping[str, object], objects: Sequence[Object]) -> set[str]:
    """Files below /run and /etc that the container is told of."""
    container = pod.container
    said = [each.get("value", "") for each in container.get("env", [])]
    named = {each["configMapRef"]["name"] for each in container.get("envFrom", [])}
    for each in of_kind(objects, "ConfigMap"):
        if each["metadata"]["name"] in named:
            said += each["data"].values()
    said += container.get("args", [])
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        said += container.get(name, {}).get("exec", {}).get("command", [])
    paths = {word.rpartition("=")[2] for word in said}
    return {path for path in paths if path.startswith(("/run/", "/etc/"))}


def _selected(each: Object, objects: Sequence[Object]) -> list[Pod]:
    spec = each["spec"]
    if each["kind"] == "Service":
        selector = {"matchLabels": spec["selector"]}
    else:
        selector = spec["podSelector" if each["kind"] == "NetworkPolicy" else "selector"]
    return [pod for pod in pods(objects) if matches(selector, pod.labels)]


def _selecting_nothing(objects: Sequence[Object]) -> Iterator[Object]:
    selecting = of_kind(objects, "Service", "PodDisruptionBudget", "NetworkPolicy")
    return (each for each in selecting if not _selected(each, objects))


def _selects_its_own(pod: Pod) -> bool:
    spread = pod.spec.get("topologySpreadConstraints", [])
    selectors = [pod.workload["spec"]["selector"], *(each["labelSelector"] for each in spread)]
    return all(matches(selector, pod.labels) for selector in selectors)
