"""What a running Prometheus says over HTTP."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from support.waiting import wait_until


class PrometheusApi:
    """One, on this port of loopback."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def query(self, expression: str, at: float | None = None) -> list[Any]:
        """The series that an expression makes, now or at a moment of Unix time."""
        found = self._get("query", query=expression, **({} if at is None else {"time": at}))
        result: list[Any] = found["result"]
        return result

    def value(self, expression: str, at: float | None = None) -> float:
        """The value of an expression that makes one series."""
        (series,) = self.query(expression, at)
        return float(series["value"][1])

    def targets(self) -> dict[str, str]:
        """What is asked for its metrics, as SERVICE ADDRESS:PORT, and whether it is `up`, `down` or `unknown`."""
        active = self._get("targets", state="active")["activeTargets"]
        return {f"{each['labels']['service']} {each['labels']['instance']}": each["health"] for each in active}

    def alerts(self) -> dict[tuple[str, str, str], str]:
        """Those not at rest, by name, cause and instance: `pending` or `firing`."""
        return {
            (each["labels"]["alertname"], each["labels"].get("cause", ""), each["labels"].get("instance", "")): each[
                "state"
            ]
            for each in self._get("alerts")["alerts"]
        }

    def until(self, condition: Callable[["PrometheusApi"], bool], limit_s: float) -> None:
        """Wait until something holds. Raises AssertionError with the targets and alerts when it does not in time."""
        wait_until(lambda: condition(self), limit_s, lambda: (self.targets(), self.alerts()))

    def _get(self, what: str, **parameters: object) -> Any:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]
