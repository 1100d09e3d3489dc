import gzip
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from support.webui_page import Page

from webui_svc.app import STATIC
from webui_svc.static_files import StaticFiles

TEXT = b"// the page\n" * 1_000
NOT_THERE = ["/none.js", "/link.js", "/..%2fsecret", "/%2e%2e%2fsecret", "/%00", "/%2fetc%2fpasswd", "/" + "a" * 4_000]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "script.js").write_bytes(TEXT)
    (folder / "small.css").write_bytes(b"p {}")
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link.js").symlink_to(tmp_path / "secret")
    return folder


@pytest.fixture
async def files(folder: Path) -> AsyncIterator[Page]:
    """A server of the folder's files."""
    static_files = StaticFiles(folder)

    async def static(request: web.Request) -> web.Response:
        return static_files.response(request, request.match_info["path"])

    app = web.Application()
    app.router.add_get("/{path:.+}", static)
    async with TestClient(TestServer(app), auto_decompress=False) as client:
        yield client


async def get(page: Page, path: str, encoding: str = "identity", known: str = "") -> tuple[ClientResponse, bytes]:
    async with page.get(path, headers={"Accept-Encoding": encoding, "If-None-Match": known}) as response:
        return response, await response.read()


@pytest.mark.parametrize(("encoding", "used"), [("identity", None), ("br, gzip", "gzip")])
async def test_a_file_is_compressed_for_clients_that_accept_it_and_not_sent_again(
    files: Page, encoding: str, used: str | None
) -> None:
    response, body = await get(files, "/script.js", encoding)
    assert (gzip.decompress(body) if used else body) == TEXT
    assert response.headers.get("Content-Encoding") == used
    assert response.content_type == "text/javascript"
    assert (response.headers["Cache-Control"], response.headers["Vary"]) == ("no-cache", "Accept-Encoding")
    etag = response.headers["ETag"]
    assert etag.startswith("W/")  # the same for both encodings
    async with files.head("/script.js", headers={"Accept-Encoding": encoding}) as head:
        assert (head.status, head.headers["ETag"], await head.read()) == (200, etag, b"")
        assert head.headers["Content-Length"] == str(len(body))
    for known in (etag, f'"other", {etag}', etag.removeprefix("W/"), "*"):
        again, nothing = await get(files, "/script.js", encoding, known)
        assert (again.status, nothing) == (304, b"")
        assert (again.headers["ETag"], again.headers["Vary"]) == (etag, "Accept-Encoding")
    other, _ = await get(files, "/script.js", encoding, '"other"')
    assert other.status == 200


async def test_a_file_that_changed_is_read_again(files: Page, folder: Path) -> None:
    first, _ = await get(files, "/small.css")
    (folder / "small.css").write_bytes(b"b {}")
    os.utime(folder / "small.css", ns=(1, 1))
    again, body = await get(files, "/small.css", known=first.headers["ETag"])
    assert (again.status, body) == (200, b"b {}")
    (folder / "small.css").unlink()
    gone, _ = await get(files, "/small.css")
    assert gone.status == 404


async def test_what_is_not_in_the_folder_is_not_served(files: Page, page: Page) -> None:
    for path in NOT_THERE:
        response, _ = await get(files, path)
        assert response.status == 404, path
    for path in ("/nowhere", "/metrics", "/static", "/static/", "/static/vendor", *(f"/static{x}" for x in NOT_THERE)):
        async with page.get(path) as response:
            assert response.status == 404, path


async def test_the_page_refers_only_to_its_own_files_by_relative_urls(page: Page) -> None:
    async with page.get("/") as response:
        assert (response.status, response.content_type) == (200, "text/html")
        html = await response.text()
    assert len(re.findall("<script>", html)) == 1
    assert not re.search(r"<style|style=|\son\w+=|\{\{", html)
    urls = re.findall(r'(?:src|href|data-shared-worker)="([^"#]+)"', html)
    assert len(urls) == 5
    for url in urls:
        assert not url.startswith(("/", "http"))
        async with page.get(f"/{url}") as file:
            assert file.status == 200
            # What is named by its hash is never requested again, and the page always is.
            kept = file.headers["Cache-Control"]
            assert ("immutable" in kept) is ("?v=" in url)
    async with page.get("/tutorial") as tutorial:
        assert (tutorial.content_type, "make run" in await tutorial.text()) == ("text/plain", True)
    async with page.get("/static/page.js?v=another") as file:
        assert file.headers["Cache-Control"] == "no-cache"
    for path in STATIC.rglob("*"):
        if path.is_file() and "vendor" not in path.parts:
            elsewhere = re.findall(r"https?://[^\s\"']+", path.read_text())
            assert [url for url in elsewhere if url != "http://www.w3.org/2000/svg"] == []
