"""Every probe asks what is served, where it is served, and the right thing of it; one asks where clients do."""

from collections.abc import Iterator, Sequence

from unit.deploy.kubernetes import code
from unit.deploy.kubernetes.environment import environment
from unit.deploy.kubernetes.pods import SERVICES, Pod, pods
from unit.deploy.kubernetes.rendered import Object

ALIVE, READY = "/healthz", "/readyz"

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def complaints(objects: Sequence[Object]) -> list[str]:
    """About probes of pods."""
    return [f"{pod.what}: {each}" for pod in pods(objects) for each in _of(pod, objects)]


def _of(pod: Pod, objects: Sequence[Object]) -> Iterator[str]:
    for name in PROBES:
        probe = pod.container.get(name)
        if probe is None:
            yield f"there is no {name}"
        elif pod.name in SERVICES:
            yield from (f"{name}: {each}" for each in _probe(pod, objects, name, probe))
    port = code.ports(pod.name).get("PORT") if pod.name in SERVICES else None
    if port is not None and port not in {_port(pod, pod.container.get(name, {})) for name in PROBES}:
        yield f"no probe connects to {port}, where clients do"


def _port(pod: Pod, probe: Object) -> int | None:
    handler = probe.get("grpc") or probe.get("httpGet") or probe.get("tcpSocket")
    return None if handler is None else pod.port(handler["port"])


def _probe(pod: Pod, objects: Sequence[Object], name: str, probe: Object) -> Iterator[str]:
    ready = name == "readinessProbe"
    if "grpc" in probe:
        if "TLS_CERT" in environment(pod, objects):
            yield "Kubernetes can't encrypt what it asks over gRPC"
        if pod.name not in code.HEALTH:
            yield "it has no gRPC"
            return
        if probe["grpc"]["port"] != code.ports(pod.name)["PORT"]:
            yield f"nobody listens on {probe['grpc']['port']}"
        expected = code.HEALTH[pod.name] if ready else ""
        if probe["grpc"].get("service", "") != expected:
            yield f"it must ask for {expected!r}"
    elif "httpGet" in probe:
        yield from _http(pod, probe["httpGet"], READY if ready else ALIVE)
    elif "tcpSocket" in probe and name == "startupProbe":
        if pod.port(probe["tcpSocket"]["port"]) != code.ports(pod.name).get("PORT"):
            yield f"no client connects to {probe['tcpSocket']['port']}"
    else:
        yield "it asks neither over gRPC nor over HTTP"


def _http(pod: Pod, handler: Object, expected: str) -> Iterator[str]:
    if pod.port(handler["port"]) != code.ports(pod.name)["METRICS_PORT"]:
        yield f"nobody who can be asked listens on {handler['port']}"
    if handler["path"] != expected or expected not in code.health_paths():
        yield f"it must ask for {expected}"
    if handler.get("scheme", "HTTP") != "HTTP":
        yield "health is plain HTTP"
