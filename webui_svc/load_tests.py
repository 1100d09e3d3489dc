import json
from collections.abc import Sequence
from typing import Any

from chassis.redis.schema import MAX_LOAD_TESTS, MalformedError, decode_load_test


class LoadTests:
    """The stored reports of load tests, newest first."""

    def __init__(self) -> None:
        self.body = b'{"reports":[]}'
        """All of them, as JSON for browsers."""
        self.figures: dict[str, Any] = {"count": 0, "newest": None}

    def set(self, stored: Sequence[bytes]) -> list[str]:
        """Take over what Redis holds; a line for each report that is none, which is left out."""
        reports, problems = [], []
        for raw in stored[:MAX_LOAD_TESTS]:
            try:
                reports.append(decode_load_test(raw))
            except MalformedError as error:
                problems.append(f"load test: {error}")
        self.body = json.dumps({"reports": reports}, separators=(",", ":"), allow_nan=False).encode()
        began = reports[0]["began"] if reports else None
        newest = began[:40] if isinstance(began, str) else None
        self.figures = {"count": len(reports), "newest": newest}
        return problems
