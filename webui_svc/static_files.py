"""The files of the page, compressed once.

aiohttp's own static files are compressed only if a build has done it, and aiohttp compresses with deflate rather than
gzip, also for clients that refuse it (`gzip;q=0`).
"""

import gzip
import hashlib
import re
from functools import lru_cache
from pathlib import Path

from aiohttp import web

# Less than this fits into one packet anyway.
MIN_COMPRESSED_BYTES = 1_024
LEVEL = 6

_REFUSED = re.compile(r";\s*q\s*=\s*0(?:\.0*)?\s*(?:;|$)")

_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}


class StaticFiles:
    """The files of a folder, served from memory and read again when they have changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    async def index(self, request: web.Request) -> web.Response:
        """Return the page itself."""
        return self.response(request, "index.html")

    async def file(self, request: web.Request) -> web.Response:
        """Return the file that the path names."""
        return self.response(request, request.match_info["path"])

    def response(self, request: web.Request, name: str) -> web.Response:
        """Return a file, or that the browser's copy is up to date.

        Raises HTTPNotFound for names of no file, however odd.
        """
        try:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder) or not path.is_file():
                raise web.HTTPNotFound
            status = path.stat()
            body, compressed, etag = _read(path, status.st_mtime_ns, status.st_size)
        except (OSError, ValueError):  # a name too long, or with a zero byte in it, or a file that just went
            raise web.HTTPNotFound from None
        # Kept, but requested again each time; with the ETag that costs no bytes. A weak one names both forms.
        headers = {"ETag": f'W/"{etag}"', "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if any(tag.value in {etag, "*"} for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        text = _TYPES.get(path.suffix)
        headers["Content-Type"] = f"{text}; charset=utf-8" if text else "application/octet-stream"
        if compressed and accepts_gzip(request):
            return web.Response(body=compressed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=body, headers=headers)


@lru_cache(64)
def _read(path: Path, _mtime_ns: int, _size: int) -> tuple[bytes, bytes | None, str]:
    body = path.read_bytes()
    compressed = compress(body) if len(body) >= MIN_COMPRESSED_BYTES else body
    return body, compressed if len(compressed) < len(body) else None, hashlib.sha256(body).hexdigest()[:32]


def compress(body: bytes) -> bytes:
    """Return the body in gzip, the same for the same."""
    return gzip.compress(body, LEVEL, mtime=0)


def accepts_gzip(request: web.Request) -> bool:
    """Return whether the request accepts a response in gzip."""
    accepted: dict[str, bool] = {}
    for part in ",".join(request.headers.getall("Accept-Encoding", [])).lower().split(","):
        accepted[part.partition(";")[0].strip()] = not _REFUSED.search(part)
    return accepted.get("gzip", accepted.get("*", False))
