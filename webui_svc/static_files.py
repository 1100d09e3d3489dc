"""The files of the page, joined and compressed once.

aiohttp's own static files are compressed only if a build has done it, and aiohttp compresses with deflate rather than
gzip, also for clients that refuse it (`gzip;q=0`).
"""

import base64
import gzip
import hashlib
import re
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from webui_svc.bundle import bundle
from webui_svc.connections import SECURITY

PROJECT = "dockercoins-grpc"

# Less than this fits into one packet anyway.
MIN_COMPRESSED_BYTES = 1_024
LEVEL = 6

# What a URL with the hash of its content names never changes, so a reload of the page fetches one file.
FOREVER = "max-age=31536000, immutable"

_REFUSED = re.compile(r";\s*q\s*=\s*0(?:\.0*)?\s*(?:;|$)")
_PLACEHOLDER = re.compile(r"\{\{([\w.-]+)\}\}")

_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}

# Scripts that are joined of modules, by the first module.
_SCRIPTS = {"page.js": "modules/page.js", "shared-worker.js": "modules/shared-worker.js"}
_STYLES = ("vendor/uplot/*.css", "styles/*.css")
_PARTS = ("boot.js", "index.html", "modules/*", "styles/*", "vendor/*/*")


class _File(NamedTuple):
    body: bytes
    compressed: bytes | None
    etag: str


class StaticFiles:
    """The files of a folder, served from memory and read again when they have changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    async def index(self, request: web.Request) -> web.Response:
        """Return the page itself, with the script in it that loads the others."""
        response = self.response(request, "index.html")
        digest = base64.b64encode(hashlib.sha256((self._folder / "boot.js").read_bytes()).digest()).decode()
        policy = SECURITY["Content-Security-Policy"].replace("script-src ", f"script-src 'sha256-{digest}' ")
        response.headers["Content-Security-Policy"] = policy
        return response

    async def tutorial(self, _: web.Request) -> web.Response:
        """Return the project's README, which has the tutorial and comes with each installation."""
        return web.Response(text=metadata.metadata(PROJECT)["Description"], headers={"Cache-Control": "no-cache"})

    async def file(self, request: web.Request) -> web.Response:
        """Return the file that the path names."""
        return self.response(request, request.match_info["path"])

    def response(self, request: web.Request, name: str) -> web.Response:
        """Return a file, or that the browser's copy is up to date.

        Raises HTTPNotFound for names of no file, however odd.
        """
        try:
            body, compressed, etag = self._read(name)
        except (OSError, ValueError):  # a name too long, or with a zero byte in it, or a file that just went
            raise web.HTTPNotFound from None
        # Kept, but requested again each time; with the ETag that costs no bytes. A weak one names both forms.
        kept = FOREVER if request.query.get("v") == etag else "no-cache"
        headers = {"ETag": f'W/"{etag}"', "Cache-Control": kept, "Vary": "Accept-Encoding"}
        if any(tag.value in {etag, "*"} for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        text = _TYPES.get(Path(name).suffix)
        headers["Content-Type"] = f"{text}; charset=utf-8" if text else "application/octet-stream"
        if compressed and accepts_gzip(request):
            return web.Response(body=compressed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=body, headers=headers)

    def _read(self, name: str) -> _File:
        if name in _SCRIPTS or name in {"page.css", "index.html"}:
            parts = sorted(part for pattern in _PARTS for part in self._folder.glob(pattern))
            return _joined(self._folder, name, tuple(map(_stamp, parts)))
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise FileNotFoundError(name)
        return _plain(path, _stamp(path))


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.name, status.st_mtime_ns, status.st_size


@lru_cache(64)
def _plain(path: Path, _: tuple[str, int, int]) -> _File:
    return _file(path.read_bytes())


@lru_cache(8)
def _joined(folder: Path, name: str, stamps: tuple[tuple[str, int, int], ...]) -> _File:
    if name in _SCRIPTS:
        return _file(bundle(folder / _SCRIPTS[name]).encode())
    if name == "page.css":
        return _file(b"\n".join(part.read_bytes() for each in _STYLES for part in sorted(folder.glob(each))))

    def fill(found: re.Match[str]) -> str:
        if found[1] == "version":
            return metadata.version(PROJECT)
        if found[1] == "boot.js":
            return (folder / "boot.js").read_text()
        return f"static/{found[1]}?v={_joined(folder, found[1], stamps).etag}"

    return _file(_PLACEHOLDER.sub(fill, (folder / name).read_text()).encode())


def _file(body: bytes) -> _File:
    compressed = compress(body) if len(body) >= MIN_COMPRESSED_BYTES else body
    return _File(body, compressed if len(compressed) < len(body) else None, hashlib.sha256(body).hexdigest()[:32])


def compress(body: bytes) -> bytes:
    """Return the body in gzip, the same for the same."""
    return gzip.compress(body, LEVEL, mtime=0)


def accepts_gzip(request: web.Request) -> bool:
    """Return whether the request accepts a response in gzip."""
    accepted: dict[str, bool] = {}
    for part in ",".join(request.headers.getall("Accept-Encoding", [])).lower().split(","):
        accepted[part.partition(";")[0].strip()] = not _REFUSED.search(part)
    return accepted.get("gzip", accepted.get("*", False))
