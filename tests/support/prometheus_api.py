import json
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from support.waiting import wait_until

Alert = tuple[str, str, str]

# On a machine that is busy with other things, processes are held up, and that rightly raises an alert with this cause.
OF_A_BUSY_MACHINE = "late"


class PrometheusApi:
    """One, on this port of loopback."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def query(self, expression: str, at: float | None = None) -> list[Any]:
        """The series that an expression makes, now or at a moment of Unix time."""
        found = self._get("query", query=expression, **({} if at is None else {"time": at}))
        result: list[Any] = found["result"]
        return result

    def targets(self) -> dict[str, str]:
        """The targets of scrapes, as SERVICE ADDRESS:PORT, and whether it is `up`, `down` or `unknown`."""
        active = self._get("targets", state="active")["activeTargets"]
        return {f"{each['labels']['service']} {each['labels']['instance']}": each["health"] for each in active}

    def firing(self) -> set[Alert]:
        """Alerts by name, cause and instance."""
        alerts = [(each["labels"], each["state"]) for each in self._get("alerts")["alerts"]]
        return {
            (labels["alertname"], labels.get("cause", ""), labels.get("instance", ""))
            for labels, state in alerts
            if state == "firing" and labels.get("cause") != OF_A_BUSY_MACHINE
        }

    def until(self, condition: Callable[[], object], limit_s: float = 60.0) -> None:
        """Wait until something holds. Raises AssertionError with the targets and alerts when it does not in time."""
        wait_until(condition, limit_s, lambda: (self.targets(), self.firing()))

    def _get(self, what: str, **parameters: object) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]
