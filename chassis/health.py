"""Whether a process is ready for work, from one state that every protocol answers from."""

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType


class Health:
    """Ready while every condition holds and the process is not draining.

    Load never is a condition: an instance that leaves the rotation when it is busy topples the next one.
    """

    def __init__(self, *conditions: str) -> None:
        self._unmet = dict.fromkeys((*conditions, "starting"))
        self.changed = asyncio.Event()
        """Set, and replaced by a fresh one, at the next change; take it before you read the state."""

    @property
    def ready(self) -> bool:
        """Whether new work may come."""
        return not self._unmet

    @property
    def unmet(self) -> list[str]:
        """What stands in the way of being ready, by name."""
        return list(self._unmet)

    def set(self, condition: str, *, met: bool) -> None:
        """Say whether a condition holds."""
        if met == (condition not in self._unmet):
            return
        if met:
            del self._unmet[condition]
        else:
            self._unmet[condition] = None
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def started(self) -> None:
        """Begin to be ready, as far as the conditions go."""
        self.set("starting", met=True)

    def drain(self) -> None:
        """Not be ready again, for this process is about to end."""
        self.set("draining", met=False)


def _alive(_: Health) -> tuple[HTTPStatus, str]:
    return HTTPStatus.OK, "alive\n"


def _ready(health: Health) -> tuple[HTTPStatus, str]:
    if health.ready:
        return HTTPStatus.OK, "ready\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {', '.join(health.unmet)}\n"


PROBES: Mapping[str, Callable[[Health], tuple[HTTPStatus, str]]] = MappingProxyType(
    {"/healthz": _alive, "/readyz": _ready}
)
"""By path, the status and text for probes that speak HTTP: alive as long as the event loop turns, and ready."""
