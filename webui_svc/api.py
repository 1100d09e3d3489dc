"""The answers in JSON: the counts, the speed over time, and load tests."""

import re
from typing import Any

import msgspec
from aiohttp import web

from chassis.redis.schema import BUCKETS_S
from webui_svc.state import SHOWN_S, DashboardState
from webui_svc.static_files import MIN_COMPRESSED_BYTES, accepts_gzip, compress

_WHOLE = re.compile(r"[0-9]{1,9}")


class QueryError(Exception):
    """A parameter of the URL holds what is not allowed. The message is one sentence."""


class Api:
    """Answers from the dashboard's state."""

    def __init__(self, state: DashboardState) -> None:
        self._state = state

    async def counts(self, _: web.Request) -> web.Response:
        """Return `/json` as the original has it; 503 and a sentence while Redis is away."""
        state = self._state
        if not state.redis:
            return web.Response(status=503, text="Redis does not answer, so the counts are not known.\n")
        return web.json_response({"coins": state.coins, "hashes": state.hashes, "now": state.now()})

    async def history(self, request: web.Request) -> web.Response:
        """Return the speed over the last seconds known; 400 and a sentence for a query that is not allowed."""
        try:
            seconds = parse_seconds(request.query.getall("seconds", []))
            by_worker = parse_by(request.query.getall("by", []))
        except QueryError as error:
            return web.Response(status=400, text=f"{error}\n")
        answer: dict[str, Any] = {"now": self._state.now()}
        if by_worker:
            answer["resolution"], answer["workers"], answer["points"] = self._state.history_by_worker(seconds)
        else:
            answer["resolution"], answer["points"] = self._state.history(seconds)
        return _json_response(request, msgspec.json.encode(answer))

    async def load_tests(self, request: web.Request) -> web.Response:
        """Return the stored reports of load tests, newest first."""
        return _json_response(request, self._state.load_tests)


def parse_seconds(values: list[str]) -> int:
    """Return the seconds in a query's values of `seconds`.

    Raises QueryError when they are no single whole number within bounds.
    """
    allowed = f"a whole number from 1 to {BUCKETS_S}"
    if not values:
        return SHOWN_S
    if len(values) > 1:
        raise QueryError(f"seconds was given {len(values)} times; it must be given once, as {allowed}.")
    seconds = int(values[0]) if _WHOLE.fullmatch(values[0]) else 0
    if not 1 <= seconds <= BUCKETS_S:
        raise QueryError(f"seconds={values[0][:40]!a} is not allowed; it must be {allowed}.")
    return seconds


def parse_by(values: list[str]) -> bool:
    """Return whether a query's values of `by` say worker. Raises QueryError for other values."""
    if len(values) > 1:
        raise QueryError(f"by was given {len(values)} times; it must be given once, as worker.")
    if values and values[0] != "worker":
        raise QueryError(f"by={values[0][:40]!a} is not allowed; it must be worker.")
    return bool(values)


def _json_response(request: web.Request, body: bytes) -> web.Response:
    headers = {"Content-Type": "application/json; charset=utf-8", "Vary": "Accept-Encoding"}
    if len(body) >= MIN_COMPRESSED_BYTES and accepts_gzip(request):
        return web.Response(body=compress(body), headers={**headers, "Content-Encoding": "gzip"})
    return web.Response(body=body, headers=headers)
