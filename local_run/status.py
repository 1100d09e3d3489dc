"""The status of a run as lines of text: the speed, the counts, and each process with what workers report of it."""

from collections.abc import Iterable
from typing import Any

from local_run.manager import Process, State

_SERVICES = ("rng", "hasher", "worker", "webui", "redis")

# Lines beside those of processes.
_FRAME_LINES = 7

# The processes at the end that are not replicas.
_SINGLE = 2


def status_lines(
    url: str, dashboard: dict[str, Any] | None, processes: Iterable[Process], rows: int = 1_000, columns: int = 1_000
) -> list[str]:
    """Return lines that fit a terminal; without the dashboard's state there are no figures."""
    listed = sorted(processes, key=lambda each: order(each.program.name))
    replicas = _replicas(dashboard or {})
    width = max((len(each.program.name) for each in listed), default=0)
    table = [_line(each, replicas.get(each.program.name, {}), width) for each in listed]
    if (hidden := len(table) - max(1, rows - _FRAME_LINES)) > 0:
        # webui and Redis, of which there is one each, stay.
        table[-_SINGLE - hidden - 1 : -_SINGLE] = [f"  … and {hidden + 1} more"]
    lines = [f"DockerCoins  {url}", "", f"  {_figures(dashboard)}", "", *table]
    return [line[: columns - 1] for line in lines]


def _figures(dashboard: dict[str, Any] | None) -> str:
    if dashboard is None:
        return "the page does not respond yet"
    if not dashboard["redis"]:
        return "Redis is unavailable; workers queue their reports"
    speed = "no speed yet" if dashboard["speed"] is None else f"{number(dashboard['speed'])} hashes/s"
    waits = f"   waiting for {' and '.join(dashboard['waits_for'])}" if dashboard["waits_for"] else ""
    coins = "coin" if dashboard["coins"] == 1 else "coins"
    return f"{speed}   {number(dashboard['hashes'])} hashes   {number(dashboard['coins'])} {coins}{waits}"


def _line(process: Process, replica: dict[str, Any], width: int) -> str:
    state = str(process.state)
    if process.state is State.RUNNING:
        state = replica.get("state", "") or (f"running ({process.pid})" if process.pid else "starting")
    parts = [f"  {process.program.name:<{width}}  {state:<15}"]
    if process.state is State.RUNNING:
        if "share" in replica:
            parts.append(f"{replica['share']:>5.0%} of the requests")
        if "speed" in replica:
            parts.append(f"{number(replica['speed']):>10} hashes/s")
        if replica.get("waits_for"):
            parts.append(f"for {replica['waits_for']}")
    if process.restarts:
        times = "once" if process.restarts == 1 else f"{process.restarts} times"
        parts.append(f"restarted {times}")
    return "  ".join(parts).rstrip()


def _replicas(dashboard: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what workers report, by name; a worker that is gone may share its name with the one that followed."""
    services = [dashboard.get("topology", {}).get(service, {}) for service in ("rng", "hasher", "worker")]
    listed = [replica for service in services for replica in service.get("replicas", [])]
    return {each["name"]: each for each in sorted(listed, key=lambda each: each["state"] != "gone")}


def number(value: float) -> str:
    """Return a number for people: 3.33, and 4,274,942."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.0f}"


def order(name: str) -> tuple[int, int]:
    """Return a key that sorts names of processes for people: rng-2 before rng-10."""
    service, _, index = name.partition("-")
    return _SERVICES.index(service), int(index or 0)
