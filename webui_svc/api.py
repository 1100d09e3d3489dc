"""Serves JSON: the counts, the speed over time, and load tests."""

import re

import msgspec
from aiohttp import web

from chassis.redis.schema import BUCKETS_S
from webui_svc.state import SHOWN_S, DashboardState
from webui_svc.static_files import MIN_COMPRESSED_BYTES, accepts_gzip, compress

_WHOLE = re.compile(r"[0-9]{1,9}")


class Api:
    """Serves the dashboard's state."""

    def __init__(self, state: DashboardState) -> None:
        self._state = state

    async def counts(self, _: web.Request) -> web.Response:
        """Return `/json` as the original has it; 503 and a sentence while Redis is unavailable."""
        state = self._state
        if not state.redis_available:
            return web.Response(status=503, text="Redis does not respond, so the counts are not known.\n")
        return web.json_response({"coins": state.coins, "hashes": state.hashes, "now": state.now()})

    async def history(self, request: web.Request) -> web.Response:
        """Return the speed over the last seconds known; 400 and a sentence for a query that is not allowed."""
        history = self._state.history(seconds_of(request), by_worker=is_by_worker(request))
        return _json_response(request, msgspec.json.encode(history))

    async def load_tests(self, request: web.Request) -> web.Response:
        """Return the stored reports of load tests, newest first."""
        return _json_response(request, self._state.load_tests)


def seconds_of(request: web.Request) -> int:
    """Return the seconds in a query. Raises HTTPBadRequest when they are no single whole number within bounds."""
    allowed = f"a whole number from 1 to {BUCKETS_S}"
    value = _only_value(request, "seconds", allowed)
    seconds = SHOWN_S if value is None else int(value) if _WHOLE.fullmatch(value) else 0
    if not 1 <= seconds <= BUCKETS_S:
        raise web.HTTPBadRequest(text=f"seconds={(value or '')[:40]!a} is not allowed; it must be {allowed}.\n")
    return seconds


def is_by_worker(request: web.Request) -> bool:
    """Return whether `by` is worker in a query. Raises HTTPBadRequest for other values."""
    value = _only_value(request, "by", "worker")
    if value is not None and value != "worker":
        raise web.HTTPBadRequest(text=f"by={value[:40]!a} is not allowed; it must be worker.\n")
    return value is not None


def _only_value(request: web.Request, name: str, allowed: str) -> str | None:
    values = request.query.getall(name, [])
    if len(values) > 1:
        text = f"{name} was given {len(values)} times; it must be given once, as {allowed}.\n"
        raise web.HTTPBadRequest(text=text)
    return values[0] if values else None


def _json_response(request: web.Request, body: bytes) -> web.Response:
    headers = {"Content-Type": "application/json; charset=utf-8", "Vary": "Accept-Encoding"}
    if len(body) >= MIN_COMPRESSED_BYTES and accepts_gzip(request):
        return web.Response(body=compress(body), headers={**headers, "Content-Encoding": "gzip"})
    return web.Response(body=body, headers=headers)
