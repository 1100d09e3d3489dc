import json
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

CLASSIC_SPEED = pytest.approx(10 / 3, rel=0.25)


class Page:
    """Follows the events of a page in a thread."""

    def __init__(self, port: int) -> None:
        self.data: dict[str, Any] = {}
        self.points: list[float] = []
        self.marks: list[dict[str, Any]] = []
        self._url = f"http://127.0.0.1:{port}/events"
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with urllib.request.urlopen(self._url, timeout=30) as response:
            for line in response:
                field, _, value = line.decode().rstrip().partition(": ")
                if field == "data":
                    data = json.loads(value)
                    self.data |= data
                    self.points += [hashes for _, hashes in data.get("points", [])]
                    self.marks += data.get("marks", [])

    def wait(self, condition: Callable[[dict[str, Any]], bool], limit_s: float) -> float:
        """Wait until a condition holds for what the page shows, and return the seconds that it took."""
        began = time.monotonic()
        while not condition(self.data):
            assert time.monotonic() - began < limit_s, self.data
            time.sleep(0.05)
        return time.monotonic() - began

    def wait_for_workers(self, count: int, limit_s: float) -> None:
        """Wait until so many workers mine at the classic pace."""
        self.wait(lambda data: (data.get("speed") or 0) / count == CLASSIC_SPEED, limit_s)

    def history(self) -> list[float]:
        """The hashes in each second of the last minutes."""
        with urllib.request.urlopen(self._url.replace("/events", "/api/history?seconds=300"), timeout=10) as response:
            return [hashes for _, hashes in json.load(response)["points"]]
