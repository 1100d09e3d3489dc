"""The restricted profile of https://kubernetes.io/docs/concepts/security/pod-security-standards/, and what we add."""

from collections.abc import Iterator, Sequence

from unit.deploy.kubernetes import code
from unit.deploy.kubernetes.pods import SERVICES, Pod, pods
from unit.deploy.kubernetes.rendered import Object

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}

SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}


def complaints(objects: Sequence[Object]) -> list[str]:
    """What a pod may that it must not."""
    return [f"{pod.what}: {each}" for pod in pods(objects) for each in (*_profile(pod), *_ours(pod))]


def _profile(pod: Pod) -> Iterator[str]:
    spec = pod.spec
    yield from (f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name))
    for volume in spec.get("volumes", []):
        yield from (f"volume {volume['name']} is {kind}" for kind in volume.keys() - {"name"} - VOLUMES)
    yield from _context(spec.get("securityContext", {}))
    for container in pod.containers:
        own = container.get("securityContext", {})
        both = {**spec.get("securityContext", {}), **own}
        yield from _context(own)
        yield from _container(container, own, both)


def _context(context: Object) -> Iterator[str]:
    """What neither a pod nor a container may have."""
    if context.get("seLinuxOptions", {}).get("type", "") not in SELINUX_TYPES or context.get(
        "seLinuxOptions", {}
    ).keys() & {"user", "role"}:
        yield "seLinuxOptions are others than a container's"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in {"RuntimeDefault", "Localhost"}:
        yield "appArmorProfile is none"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess is set"
    if context.get("sysctls"):
        yield "sysctls are set"


def _container(container: Object, own: Object, both: Object) -> Iterator[str]:
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if own.get("procMount", "Default") != "Default":
        yield "procMount is set"
    if both.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if both.get("runAsUser") == 0:
        yield "runAsUser is 0"
    if both.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "seccompProfile is neither RuntimeDefault nor Localhost"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are not dropped"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "hostPort is set"
    handlers = [container.get(f"{name}Probe", {}) for name in ("startup", "liveness", "readiness")]
    handlers += container.get("lifecycle", {}).values()
    if any(each.get(kind, {}).get("host") for each in handlers for kind in ("httpGet", "tcpSocket")):
        yield "a probe or hook has a host"


def _ours(pod: Pod) -> Iterator[str]:
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "it gets a service account's token"
    if pod.spec.get("enableServiceLinks") is not False:
        yield "it gets variables of the namespace's Services"
    context = pod.spec.get("securityContext", {})
    if pod.name in SERVICES and (context.get("runAsUser"), context.get("runAsGroup")) != code.user(pod.name):
        yield f"its user is not the image's, {code.user(pod.name)}"
    for container in pod.containers:
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield "its root can be written to"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield "its memory has no limit"
        if container.get("resources", {}).get("requests", {}).keys() != {"cpu", "memory"}:
            yield "it does not say what it needs"
