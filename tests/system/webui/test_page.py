import re

import pytest
from system.webui.page import Page

from webui_svc.app import STATIC

OWN_FILES = [path for path in STATIC.rglob("*") if path.is_file() and "vendor" not in path.parts]


async def test_the_page_refers_only_to_what_is_there_by_relative_urls(page: Page) -> None:
    async with page.get("/") as response:
        assert (response.status, response.content_type) == (200, "text/html")
        html = await response.text()
    urls = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert urls
    for url in urls:
        assert not url.startswith(("/", "http"))
        if "vendor" not in url:
            async with page.get(f"/{url}") as file:
                assert file.status == 200


def test_nothing_is_inline_or_from_elsewhere() -> None:
    html = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=", html)
    for path in OWN_FILES:
        elsewhere = re.findall(r"https?://[^\s\"']+", path.read_text())
        assert [url for url in elsewhere if url != "http://www.w3.org/2000/svg"] == []


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/json", "/events", "/nowhere", "/api/history?seconds=x"])
async def test_every_response_is_guarded(ready_page: Page, path: str) -> None:
    async with ready_page.get(path) as response:
        headers = response.headers
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Server" not in headers


async def test_a_file_is_asked_for_again_by_its_etag(page: Page) -> None:
    async with page.get("/static/page.js") as first:
        assert first.headers["Cache-Control"] == "no-cache"
        etag = first.headers["ETag"]
    async with page.get("/static/page.js", headers={"If-None-Match": etag}) as again:
        assert again.status == 304


async def test_what_changes_is_never_kept(ready_page: Page) -> None:
    async with ready_page.get("/json") as response:
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/static/none.js",
        "/static/",
        "/static",
        "/static/vendor",
        "/nowhere",
        "/static/%00",
        f"/static/{'a' * 4_000}",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
    ],
)
async def test_what_is_not_there_is_a_404(page: Page, path: str) -> None:
    async with page.get(path) as response:
        assert response.status == 404


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/json", "/api/history", "/events", "/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_reading_is_allowed(page: Page, path: str, method: str) -> None:
    async with page.request(method, path) as response:
        assert response.status == 405


@pytest.mark.parametrize("path", ["/", "/static/page.css", "/json", "/api/history", "/readyz"])
async def test_the_header_alone_can_be_had(ready_page: Page, path: str) -> None:
    async with ready_page.head(path) as response:
        assert response.status == 200
