import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie

import pytest
from support.redis_server import RedisServer
from support.webui_page import Page, webui_page

from webui_svc.access import Access
from webui_svc.connections import SECURITY

TOKEN = "open-sesame-0123456789"
PATHS = ["/", "/json", "/api/history", "/api/load-tests", "/events", "/static/page.js", "/readyz"]


@pytest.fixture
async def secret_page(redis: RedisServer) -> AsyncIterator[Page]:
    async with webui_page(redis.url, access=Access((), TOKEN)) as page:
        yield page


async def test_without_the_right_bearer_token_only_healthz_is_served(secret_page: Page) -> None:
    for path in (*PATHS, "/none"):
        async with secret_page.get(path) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert TOKEN not in await response.text()
    for given in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ÿ"):
        async with secret_page.get("/", headers={"Authorization": given}) as response:
            assert response.status == 401, given
    for path, given in (("/healthz", ""), ("/", f"Bearer {TOKEN}")):
        async with secret_page.get(path, headers={"Authorization": given}) as response:
            assert response.status == 200


async def test_a_browser_gives_the_token_once_and_keeps_a_cookie(secret_page: Page) -> None:
    async with secret_page.get("/", params={"token": "x" * 20}, allow_redirects=False) as response:
        assert (response.status, "Set-Cookie" in response.headers) == (401, False)
    for scheme, secure in (("http", ""), ("https", True)):
        forwarded = {"X-Forwarded-Proto": scheme}
        async with secret_page.get("/", params={"token": TOKEN}, headers=forwarded, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, "./")
            [cookie] = SimpleCookie(response.headers["Set-Cookie"]).values()
            attributes = [cookie[name] for name in ("httponly", "samesite", "secure", "path")]
            assert attributes == [True, "Strict", secure, ""]
            assert TOKEN not in cookie.value + await response.text()
        secret_page.session.cookie_jar.clear()
    for path, value, status in (("/api/load-tests", cookie.value, 200), ("/", f"0{cookie.value[1:]}x", 401)):
        async with secret_page.get(path, headers={"Cookie": f"{cookie.key}={value}"}) as response:
            assert response.status == status


async def test_a_cookie_that_is_not_utf_8_is_a_wrong_one(secret_page: Page) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", secret_page.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: dockercoins=\xff\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 401")
    writer.close()


async def test_only_allowed_hosts_are_served(redis: RedisServer) -> None:
    async with webui_page(redis.url, access=Access({"localhost", "::1", "coins.example"}, "")) as page:
        for host in ("localhost", "LOCALHOST:8000", "[::1]:8000", "coins.example.", "coins.example:80"):
            async with page.get("/", headers={"Host": host}) as response:
                assert response.status == 200, host
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1", "[::2]:80", "", "a" * 500):
            async with page.get("/", headers={"Host": host}) as response:
                assert response.status == 421, host
                assert "ALLOWED_HOSTS" in await response.text()
            async with page.get("/healthz", headers={"Host": host}) as response:
                assert response.status == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
        writer.write(b"GET http://evil.example/json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 421")
        writer.close()


@pytest.mark.parametrize("path", [*PATHS, "/healthz"])
async def test_requests_read_and_have_no_body(page: Page, path: str) -> None:
    async with page.head(path) as response:
        assert response.status == 200
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"):
        async with page.request(method, path) as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD")
    for method in ("GET", "POST"):
        async with page.request(method, path, data=b"x" * 100_000) as response:
            assert (response.status, response.headers["Connection"]) == (413, "close")


async def test_every_response_has_strict_headers(page: Page) -> None:
    assert "script-src 'self'" in SECURITY["Content-Security-Policy"]
    assert "unsafe" not in SECURITY["Content-Security-Policy"]
    for path in (*PATHS, "/healthz", "/none", "/api/history?seconds=x"):
        async with page.get(path) as response:
            received = {name: response.headers.get(name) for name in SECURITY}
            if path == "/":  # the page's first script is in it, and allowed by its hash
                policy = received["Content-Security-Policy"] or ""
                script = re.search(r"<script>(.*?)</script>", await response.text(), re.DOTALL)
                assert script
                digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
                received["Content-Security-Policy"] = policy.replace(f"'sha256-{digest}' ", "")
                assert received["Content-Security-Policy"] != policy
            assert received == SECURITY
            assert "Server" not in response.headers
            kept = "no-cache" if path == "/" or path.startswith("/static/") else "no-store"
            assert response.headers["Cache-Control"] == kept
