import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from webui_svc.compression import LEAST_BYTES, accepts_gzip, compress

_TEXT = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
}
_BINARY = {".ico": "image/x-icon", ".png": "image/png", ".woff2": "font/woff2"}


@dataclass(frozen=True, slots=True)
class _File:
    mtime_ns: int
    size: int
    content_type: str
    etag: str
    body: bytes
    compressed: bytes | None
    """None where gzip gains nothing."""


class StaticFiles:
    """The files of a folder, served from memory and read again when they changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._files: dict[Path, _File] = {}

    def response(self, request: web.Request, name: str) -> web.Response:
        """A file, or that the browser's copy is up to date. Raises HTTPNotFound for whatever is none, however odd."""
        file = self._file(name)
        zipped = file.compressed is not None and accepts_gzip(request)
        etag = f"{file.etag}-gzip" if zipped else file.etag  # these bytes and no others
        # Kept, but asked for again each time; with the ETag that costs no bytes.
        headers = {"ETag": f'"{etag}"', "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        known = request.if_none_match or ()
        if any(tag.value in {etag, "*"} for tag in known):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = file.content_type
        if zipped:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=file.compressed if zipped else file.body, headers=headers)

    def _file(self, name: str) -> _File:
        try:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder) or not path.is_file():
                raise web.HTTPNotFound
            status = path.stat()
            known = self._files.get(path)
            if known is None or (known.mtime_ns, known.size) != (status.st_mtime_ns, status.st_size):
                known = self._files[path] = _read(path, status.st_mtime_ns, status.st_size)
        except (OSError, ValueError):  # a name too long, or with a zero byte in it, or a file that just went
            raise web.HTTPNotFound from None
        return known


def _read(path: Path, mtime_ns: int, size: int) -> _File:
    body = path.read_bytes()
    text = _TEXT.get(path.suffix)
    compressed = compress(body) if text and len(body) >= LEAST_BYTES else None
    if compressed is not None and len(compressed) >= len(body):
        compressed = None
    content_type = f"{text}; charset=utf-8" if text else _BINARY.get(path.suffix, "application/octet-stream")
    return _File(mtime_ns, size, content_type, hashlib.sha256(body).hexdigest()[:32], body, compressed)
