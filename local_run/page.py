"""The page that the run is for: whether it answers yet."""

import http.client
import time
from collections.abc import Callable

PAUSE = 0.25
"""Seconds between two questions."""

PATIENCE = 0.2
"""Seconds that an answer may take, since the questions hold up everything else."""


class Page:
    """Says once where the page is, as soon as it is there."""

    def __init__(self, host: str, port: int, say: Callable[[str], None]) -> None:
        self._host = host
        self._port = port
        self._say = say
        self._said = False
        self._ask_next = 0.0

    @property
    def url(self) -> str:
        """What a browser is given."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/"

    def announce(self) -> None:
        """Ask whether the page is there, unless it was there before or the last question was a moment ago."""
        now = time.monotonic()
        if self._said or now < self._ask_next:
            return
        if self._answers():
            self._said = True
            self._say(f"the page is at {self.url} (Ctrl-C stops everything)")
        self._ask_next = time.monotonic() + PAUSE

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=PATIENCE)
        try:
            connection.request("GET", "/readyz")
            # With a token, or for other hosts, it refuses this question, and so it is there.
            return connection.getresponse().status != http.HTTPStatus.SERVICE_UNAVAILABLE
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
