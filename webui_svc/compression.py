import gzip
import json
from typing import Any

from aiohttp import web

LEAST_BYTES = 1_024
"""Less than this is not worth it: it fits into one packet."""

LEVEL = 6


def accepts_gzip(request: web.Request) -> bool:
    """Whether the request takes an answer in gzip."""
    taken = {"gzip": False, "*": False}
    for part in ",".join(request.headers.getall("Accept-Encoding", [])).lower().split(","):
        coding, *parameters = (each.strip() for each in part.split(";"))
        if coding in taken:
            taken[coding] = not any(_is_zero(parameter) for parameter in parameters)
            if coding == "gzip":
                return taken[coding]
    return taken["*"]


def compress(body: bytes) -> bytes:
    """In gzip, the same for the same."""
    return gzip.compress(body, LEVEL, mtime=0)


def json_response(request: web.Request, data: Any) -> web.Response:
    """An answer in JSON, compressed when that is accepted and worth it; bytes are JSON already."""
    body = data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "Vary": "Accept-Encoding"}
    if len(body) >= LEAST_BYTES and accepts_gzip(request):
        body = compress(body)
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=body, headers=headers)


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip().strip("0").rstrip(".").strip("0") == ""
