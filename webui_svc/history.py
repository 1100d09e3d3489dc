import re

from aiohttp import web

from webui_svc.board import SHOWN, Board

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


async def history(request: web.Request) -> web.Response:
    """The speed over the last seconds known; 400 and a sentence when it can't be told which are wanted."""
    try:
        seconds = parse_seconds(request.query.getall("seconds", []))
    except QueryError as error:
        return web.Response(status=400, text=f"{error}\n")
    board = request.app[BOARD]
    resolution, points = board.history(seconds)
    return web.json_response({"now": board.now(), "resolution": resolution, "points": points})


async def counts(request: web.Request) -> web.Response:
    """`/json` as the original has it; 503 and a sentence while Redis is away."""
    board = request.app[BOARD]
    if not board.redis:
        return web.Response(status=503, text="Redis does not answer, so the counts are not known.\n")
    return web.json_response({"coins": board.coins, "hashes": board.hashes, "now": board.now()})
