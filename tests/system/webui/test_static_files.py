import gzip
import os
from pathlib import Path

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from system.webui.page import Page

from webui_svc.static_files import StaticFiles

TEXT = b"// the page\n" * 1_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "page.js").write_bytes(TEXT)
    (folder / "small.css").write_bytes(b"p {}")
    (folder / "image.png").write_bytes(bytes(5_000))
    (tmp_path / "secret").write_bytes(b"secret")
    (folder / "link.js").symlink_to(tmp_path / "secret")
    return folder


def client(folder: Path) -> Page:
    files = StaticFiles(folder)
    app = web.Application()

    async def static(request: web.Request) -> web.Response:
        return files.response(request, request.match_info["path"])

    app.router.add_get("/{path:.+}", static)
    return TestClient(TestServer(app), auto_decompress=False)


async def get(page: Page, path: str, **headers: str) -> tuple[ClientResponse, bytes]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with page.get(path, headers={"Accept-Encoding": "identity", **names}) as response:
        return response, await response.read()


async def test_a_file_comes_compressed_for_whoever_takes_it(folder: Path) -> None:
    async with client(folder) as page:
        plain, body = await get(page, "/page.js")
        zipped, packed = await get(page, "/page.js", Accept_Encoding="br, gzip")
    assert (body, gzip.decompress(packed)) == (TEXT, TEXT)
    assert ("Content-Encoding" in plain.headers, zipped.headers["Content-Encoding"]) == (False, "gzip")
    assert plain.content_type == zipped.content_type == "text/javascript"
    for response in (plain, zipped):
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers["Cache-Control"] == "no-cache"
        assert not response.headers["ETag"].startswith("W/")
    assert plain.headers["ETag"] != zipped.headers["ETag"]


@pytest.mark.parametrize(("path", "content_type"), [("/small.css", "text/css"), ("/image.png", "image/png")])
async def test_what_compression_gains_nothing_for_comes_as_it_is(folder: Path, path: str, content_type: str) -> None:
    async with client(folder) as page:
        response, _ = await get(page, path, Accept_Encoding="gzip")
    assert "Content-Encoding" not in response.headers
    assert response.content_type == content_type


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_copy_that_is_up_to_date_is_not_sent_again(folder: Path, encoding: str) -> None:
    async with client(folder) as page:
        first, _ = await get(page, "/page.js", Accept_Encoding=encoding)
        etag = first.headers["ETag"]
        for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            again, body = await get(page, "/page.js", Accept_Encoding=encoding, If_None_Match=known)
            assert (again.status, body) == (304, b"")
            assert (again.headers["ETag"], again.headers["Vary"]) == (etag, "Accept-Encoding")
        other, _ = await get(page, "/page.js", Accept_Encoding=encoding, If_None_Match='"other"')
        assert other.status == 200


async def test_the_header_alone_says_how_long_the_body_is(folder: Path) -> None:
    async with client(folder) as page:
        for encoding in ("identity", "gzip"):
            whole, body = await get(page, "/page.js", Accept_Encoding=encoding)
            async with page.head("/page.js", headers={"Accept-Encoding": encoding}) as head:
                assert (head.status, await head.read()) == (200, b"")
                assert head.headers["Content-Length"] == str(len(body))
                assert head.headers["ETag"] == whole.headers["ETag"]


async def test_a_file_that_changed_is_read_again(folder: Path) -> None:
    async with client(folder) as page:
        first, _ = await get(page, "/small.css")
        (folder / "small.css").write_bytes(b"b {}")
        os.utime(folder / "small.css", ns=(1, 1))
        again, body = await get(page, "/small.css", If_None_Match=first.headers["ETag"])
        assert (again.status, body) == (200, b"b {}")
        (folder / "small.css").unlink()
        gone, _ = await get(page, "/small.css")
        assert gone.status == 404


@pytest.mark.parametrize(
    "path", ["/none.js", "/link.js", "/..%2fsecret", "/%2e%2e%2fsecret", "/%00", "/" + "a" * 4_000]
)
async def test_what_is_not_in_the_folder_is_not_served(folder: Path, path: str) -> None:
    async with client(folder) as page:
        response, _ = await get(page, path)
    assert response.status == 404
