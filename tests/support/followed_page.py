"""The events of a page's server as a browser receives them, followed in a thread."""

import json
import threading
import urllib.request
from typing import Any

from support.admin_endpoint import ask


class FollowedPage:
    """What the page shows now, and the points and marks that it received."""

    def __init__(self, port: int) -> None:
        self.data: dict[str, Any] = {}
        self.points: list[float] = []
        self.annotations: list[dict[str, Any]] = []
        self._port = port
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/events", timeout=60) as response:
            for line in response:
                field, _, value = line.decode().rstrip().partition(": ")
                if field == "data":
                    data = json.loads(value)
                    self.data |= data
                    self.points += [hashes for _, hashes in data.get("points", [])]
                    self.annotations += data.get("annotations", [])

    @property
    def speed(self) -> float:
        return self.data.get("speed") or 0.0

    def history(self) -> list[float]:
        """Return the hashes in each second of the last minutes."""
        _, text = ask(self._port, "/api/history", 30)
        return [hashes for _, hashes in json.loads(text)["points"]]
