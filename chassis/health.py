"""Readiness of a process: one state, which gRPC's health service, `/healthz` and `/readyz` report."""

import asyncio
from http import HTTPStatus

# The paths of probes over HTTP: alive as long as the event loop runs, and ready.
PROBES = ("/healthz", "/readyz")


class Health:
    """The process is ready while every condition holds and it is not draining.

    Load never is a condition: an instance that leaves the rotation when it is busy topples the next one.
    """

    def __init__(self, *conditions: str) -> None:
        self._unmet = dict.fromkeys((*conditions, "starting"))
        # Set, and replaced by a fresh one, at the next change; take it before you read the state.
        self.changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether new work may come."""
        return not self._unmet

    @property
    def unmet(self) -> list[str]:
        """The names of the conditions that do not hold."""
        return list(self._unmet)

    def set(self, condition: str, *, met: bool) -> None:
        """Set whether a condition holds."""
        if met == (condition not in self._unmet):
            return
        if met:
            del self._unmet[condition]
        else:
            self._unmet[condition] = None
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def started(self) -> None:
        """Become ready as soon as all conditions hold."""
        self.set("starting", met=True)

    def drain(self) -> None:
        """Become unready for good, since the process is about to end."""
        self.set("draining", met=False)

    def probe(self, path: str) -> tuple[HTTPStatus, str]:
        """Return the status and the text for one of the PROBES."""
        if path == "/healthz":
            return HTTPStatus.OK, "alive\n"
        if self.ready:
            return HTTPStatus.OK, "ready\n"
        return HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {', '.join(self.unmet)}\n"
