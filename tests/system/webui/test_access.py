"""Who may ask, under which name, and with what."""

import asyncio
import contextlib
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie

import psutil
import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses
from system.webui.page import Page
from system.webui.test_webui_process import get

from chassis.health import Health
from chassis.redis.access import RedisAccess
from chassis.telemetry.telemetry import Telemetry
from webui_svc.access import Access
from webui_svc.app import make_app
from webui_svc.headers import SECURITY

TOKEN = "open-sesame-0123456789"
PASSWORD = "guess-me-not"
PATHS = ["/", "/json", "/api/history", "/api/load-tests", "/events", "/static/page.js", "/readyz", "/none"]


@contextlib.asynccontextmanager
async def page_for(redis: RedisServer, access: Access, streams_per_client: int = 500) -> AsyncIterator[Page]:
    app = make_app(RedisAccess(redis.url), Telemetry(Health("redis")), "webui-1", access, streams_per_client)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
async def secret_page(redis: RedisServer) -> AsyncIterator[Page]:
    async with page_for(redis, Access((), TOKEN)) as page:
        yield page


def raw(port: int, request: bytes, limit: float = 5.0) -> bytes:
    """All that is answered until the connection is closed, or the limit."""
    with socket.create_connection(("127.0.0.1", port), limit) as connection:
        connection.sendall(request)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := connection.recv(65_536):
                answer += piece
        return answer


@pytest.mark.parametrize("path", PATHS)
async def test_without_the_token_nothing_is_answered_but_healthz(secret_page: Page, path: str) -> None:
    async with secret_page.get(path) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert TOKEN not in await response.text()
    async with secret_page.get("/healthz") as response:
        assert response.status == 200


@pytest.mark.parametrize("given", ["", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ÿ"])
async def test_a_wrong_token_is_refused(secret_page: Page, given: str) -> None:
    async with secret_page.get("/json", headers={"Authorization": given}) as response:
        assert response.status == 401


async def test_the_token_opens_it(secret_page: Page) -> None:
    async with secret_page.get("/", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        assert response.status == 200


async def test_a_browser_opens_it_once_with_the_token_and_keeps_a_cookie(secret_page: Page) -> None:
    async with secret_page.get("/", params={"token": TOKEN}, allow_redirects=False) as response:
        assert response.status == 303
        assert response.headers["Location"] == "./"
        (cookie,) = SimpleCookie(response.headers["Set-Cookie"]).values()
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        assert not cookie["secure"]
        assert not cookie["path"]
        assert TOKEN not in cookie.value
        assert TOKEN not in await response.text()
    secret_page.session.cookie_jar.clear()
    headers = {"Cookie": f"{cookie.key}={cookie.value}"}
    for path in ("/", "/api/load-tests"):
        async with secret_page.get(path, headers=headers) as response:
            assert response.status == 200
    async with secret_page.get("/", headers={"Cookie": f"{cookie.key}=0{cookie.value[1:]}x"}) as response:
        assert response.status == 401


async def test_a_wrong_token_in_the_query_is_refused(secret_page: Page) -> None:
    async with secret_page.get("/", params={"token": "x" * 20}, allow_redirects=False) as response:
        assert response.status == 401
        assert "Set-Cookie" not in response.headers


async def test_behind_https_the_cookie_is_for_https_only(secret_page: Page) -> None:
    headers = {"X-Forwarded-Proto": "https"}
    async with secret_page.get("/", params={"token": TOKEN}, headers=headers, allow_redirects=False) as response:
        (cookie,) = SimpleCookie(response.headers["Set-Cookie"]).values()
        assert cookie["secure"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "[::1]:8000", "coins.example.", "coins.example:80"])
async def test_an_allowed_host_is_served(redis: RedisServer, host: str) -> None:
    async with (
        page_for(redis, Access({"localhost", "::1", "coins.example"}, "")) as page,
        page.get("/", headers={"Host": host}) as response,
    ):
        assert response.status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1", "[::2]:80", "", "a" * 500])
async def test_another_host_is_refused_and_told_which_setting(redis: RedisServer, host: str) -> None:
    async with page_for(redis, Access({"localhost"}, "")) as page:
        async with page.get("/json", headers={"Host": host}) as response:
            assert response.status == 421
            assert "ALLOWED_HOSTS" in await response.text()
        async with page.get("/healthz", headers={"Host": host}) as response:
            assert response.status == 200


async def test_a_whole_url_of_another_host_is_refused(redis: RedisServer, processes: ServiceProcesses) -> None:
    webui = processes.start("webui", REDIS_URL=redis.url, ALLOWED_HOSTS="localhost")
    get_of_another = b"GET http://evil.example/json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert raw(webui.port, get_of_another).startswith(b"HTTP/1.1 421")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_other_methods_are_refused(ready_page: Page, method: str) -> None:
    async with ready_page.request(method, "/json") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_body_is_refused(ready_page: Page, method: str) -> None:
    async with ready_page.request(method, "/json", data=b"x" * 100_000) as response:
        assert response.status == 413
        assert response.headers["Connection"] == "close"


@pytest.mark.parametrize("path", [*PATHS, "/healthz"])
async def test_every_response_has_strict_headers(ready_page: Page, path: str) -> None:
    async with ready_page.get(path) as response:
        assert {name: response.headers.get(name) for name in SECURITY} == SECURITY
        assert "Server" not in response.headers
        assert "Cache-Control" in response.headers


async def test_one_address_has_no_more_streams_than_it_may(redis: RedisServer) -> None:
    async with page_for(redis, Access((), ""), streams_per_client=3) as page:
        streams = [await page.get("/events") for _ in range(3)]
        assert {stream.status for stream in streams} == {200}
        async with page.get("/events") as response:
            assert response.status == 429
            assert int(response.headers["Retry-After"]) > 0
            assert "STREAMS_PER_CLIENT" in await response.text()
        streams[0].close()

        async def again() -> bool:
            async with page.get("/events") as response:
                return response.status == 200

        async with asyncio.timeout(5):
            while not await again():  # noqa: ASYNC110 - the server notices when it writes
                await asyncio.sleep(0.05)
        for stream in streams[1:]:
            stream.close()


@pytest.fixture
def webui(redis: RedisServer, processes: ServiceProcesses) -> ServiceProcess:
    process = processes.start("webui", REDIS_URL=redis.url, STREAMS_PER_CLIENT="10")
    process.wait_for("listening")
    return process


@pytest.mark.parametrize(
    "request_",
    [b"garbage\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"],
    ids=["garbage", "no host", "long line"],
)
def test_what_is_no_request_is_refused_with_strict_headers_and_no_traceback(
    webui: ServiceProcess, request_: bytes
) -> None:
    answer = raw(webui.port, request_).decode()
    assert re.match(r"HTTP/1.[01] 400 ", answer)
    assert SECURITY["Content-Security-Policy"] in answer
    assert "aiohttp" not in answer
    assert "Traceback" not in webui.text


def test_many_headers_are_refused(webui: ServiceProcess) -> None:
    headers = b"".join(b"X-%d: 1\r\n" % number for number in range(200))
    assert b" 400 " in raw(webui.port, b"GET / HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n")


def test_it_listens_where_it_is_told(redis: RedisServer, processes: ServiceProcesses) -> None:
    webui = processes.start("webui", REDIS_URL=redis.url, BIND_ADDRESS="127.0.0.2")
    webui.wait_for(r"listening address=127\.0\.0\.2:")
    listening = psutil.Process(webui.popen.pid).net_connections("tcp")
    assert {each.laddr.ip for each in listening if each.status == psutil.CONN_LISTEN} == {"127.0.0.2"}


def test_one_address_with_too_many_connections_loses_the_oldest_and_others_do_not_notice(webui: ServiceProcess) -> None:
    """Its own bound is 10 streams and 250 connections beside."""
    get(webui, "/healthz")
    process = psutil.Process(webui.popen.pid)
    before = process.memory_info().rss
    usual = max(_took(webui) for _ in range(50))
    crowd = [socket.create_connection(("127.0.0.1", webui.port), 5) for _ in range(400)]
    try:
        crowded = max(_took(webui) for _ in range(50))
        assert crowded < max(3 * usual, 0.1)
        crowd[0].settimeout(15)
        with contextlib.suppress(ConnectionError):
            assert crowd[0].recv(1) == b""
        crowd[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert crowd[-1].recv(100).startswith(b"HTTP/1.1 200")
    finally:
        for connection in crowd:
            connection.close()
    deadline = time.monotonic() + 10
    while process.memory_info().rss > 1.2 * before:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _took(webui: ServiceProcess) -> float:
    began = time.monotonic()
    get(webui, "/healthz")
    return time.monotonic() - began


def test_no_secret_is_in_any_response_or_log_line(redis: RedisServer, processes: ServiceProcesses) -> None:
    url = f"redis://:{PASSWORD}@127.0.0.1:{redis.port}"
    webui = processes.start("webui", REDIS_URL=url, TOKEN=TOKEN, LOG_LEVEL="debug")
    webui.wait_for("listening")
    port, answers = webui.port, b""
    for path in (*PATHS, "/healthz", f"/?token={TOKEN}", f"/json?token={TOKEN}x"):
        for headers in ("", f"Authorization: Bearer {TOKEN}\r\n"):
            request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n"
            answers += raw(port, request.encode(), 0.5)
    for secret in (TOKEN, PASSWORD):
        assert secret.encode() not in answers
        assert secret not in webui.text
    assert webui.stop() == 0


@pytest.mark.parametrize("token", ["short", "with space in between it", "ü" * 20])
def test_a_bad_token_stops_it_and_is_not_told(processes: ServiceProcesses, token: str) -> None:
    webui = processes.start("webui", TOKEN=token)
    assert webui.popen.wait(10) == 2
    assert webui.text.startswith("webui: TOKEN is not allowed: it must be 16 to 256 ")
    assert token not in webui.text


def test_a_token_comes_from_a_file(
    redis: RedisServer, processes: ServiceProcesses, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("secrets") / "token"
    file.write_text(f"{TOKEN}\n")
    webui = processes.start("webui", REDIS_URL=redis.url, TOKEN_FILE=file)
    with pytest.raises(urllib.error.HTTPError, match="401") as caught:
        get(webui, "/json")
    caught.value.close()
    asked = urllib.request.Request(f"http://127.0.0.1:{webui.port}/", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(asked, timeout=5) as response:
        assert response.status == 200
    file.write_text("x\ny\n")
    refused = processes.start("webui", REDIS_URL=redis.url, TOKEN_FILE=file)
    assert refused.popen.wait(10) == 2
    assert refused.text.startswith("webui: TOKEN_FILE=")
