import re
from typing import Any

from aiohttp import web

from webui_svc.board import SHOWN, Board
from webui_svc.compression import json_response

BOARD = web.AppKey("board", Board)

MAX_SECONDS = 3_600
"""As far as the ten-second buckets reach back."""

_WHOLE = re.compile(r"[0-9]{1,9}")


class QueryError(Exception):
    """A parameter of the URL holds what is not allowed; whoever asks must mend it. The message is one sentence."""


def parse_seconds(values: list[str]) -> int:
    """The seconds that a query's values of `seconds` ask for.

    Raises QueryError when they are no single whole number within bounds.
    """
    allowed = f"a whole number from 1 to {MAX_SECONDS}"
    if not values:
        return SHOWN
    if len(values) > 1:
        raise QueryError(f"seconds was given {len(values)} times; it must be given once, as {allowed}.")
    seconds = int(values[0]) if _WHOLE.fullmatch(values[0]) else 0
    if not 1 <= seconds <= MAX_SECONDS:
        raise QueryError(f"seconds={values[0][:40]!a} is not allowed; it must be {allowed}.")
    return seconds


def parse_by(values: list[str]) -> bool:
    """Whether a query's values of `by` ask for the speed by worker. Raises QueryError when they ask for another."""
    if len(values) > 1:
        raise QueryError(f"by was given {len(values)} times; it must be given once, as worker.")
    if values and values[0] != "worker":
        raise QueryError(f"by={values[0][:40]!a} is not allowed; it must be worker.")
    return bool(values)


async def history(request: web.Request) -> web.Response:
    """The speed over the last seconds known; 400 and a sentence when it can't be told which are wanted."""
    try:
        seconds = parse_seconds(request.query.getall("seconds", []))
        by_worker = parse_by(request.query.getall("by", []))
    except QueryError as error:
        return web.Response(status=400, text=f"{error}\n")
    board = request.app[BOARD]
    answer: dict[str, Any] = {"now": board.now()}
    if by_worker:
        answer["resolution"], answer["workers"], answer["points"] = board.history_by_worker(seconds)
    else:
        answer["resolution"], answer["points"] = board.history(seconds)
    return json_response(request, answer)


async def load_tests(request: web.Request) -> web.Response:
    """The stored reports of load tests, newest first."""
    return json_response(request, request.app[BOARD].load_tests.body)


async def counts(request: web.Request) -> web.Response:
    """`/json` as the original has it; 503 and a sentence while Redis is away."""
    board = request.app[BOARD]
    if not board.redis:
        return web.Response(status=503, text="Redis does not answer, so the counts are not known.\n")
    return web.json_response({"coins": board.coins, "hashes": board.hashes, "now": board.now()})
