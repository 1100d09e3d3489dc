"""Every variable and every port is one that the code knows, and every value one that it allows."""

from collections.abc import Iterator, Sequence

from unit.deploy.kubernetes import code
from unit.deploy.kubernetes.environment import environment, own, shared
from unit.deploy.kubernetes.pods import SERVICES, Pod, pods
from unit.deploy.kubernetes.rendered import Object

from chassis.settings import SettingsError

FILES = {"TLS_CERT", "TLS_KEY", "TLS_CA", "REDIS_PASSWORD_FILE"}
"""They name files of the pod's, which are not here."""


def complaints(objects: Sequence[Object]) -> list[str]:
    """About what the services are told."""
    ours = [pod for pod in pods(objects) if pod.name in SERVICES]
    found = [f"{pod.what}: {each}" for pod in ours for each in (*_variables(pod, objects), *_ports(pod, objects))]
    known = {name for pod in ours for name in code.variables(pod.name)}
    for pod in ours:
        found += [f"{name} is a variable of no service" for name in shared(pod, objects).keys() - known]
    return found


def _variables(pod: Pod, objects: Sequence[Object]) -> Iterator[str]:
    yield from (f"it does not know {name}" for name in own(pod).keys() - code.variables(pod.name))
    if "INSTANCE" not in own(pod):
        yield "it is not told its name"
    told = {name.lower(): value for name, value in environment(pod, objects).items() if name not in FILES}
    settings = code.SETTINGS[pod.name]
    try:
        settings.load(**{name: value for name, value in told.items() if name in settings.fields})
    except SettingsError as error:
        yield str(error)


def _ports(pod: Pod, objects: Sequence[Object]) -> Iterator[str]:
    told = environment(pod, objects)
    listens = {int(told.get(name, port)) for name, port in code.ports(pod.name).items()}
    if set(pod.ports.values()) != listens:
        yield f"its ports are {sorted(pod.ports.values())}, and it listens on {sorted(listens)}"
