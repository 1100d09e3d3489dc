"""webui as a process: where it listens, what it keeps to itself, and how it stops."""

import contextlib
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import psutil
import pytest
from support.free_port import free_port
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcess, ServiceProcesses, service_processes

TOKEN = "open-sesame-0123456789"
PASSWORD = "guess-me-not"
ADDRESS = "127.0.0.2"
PATHS = ["/", "/json", "/api/history", "/api/load-tests", "/events", "/static/page.js", "/readyz", "/healthz", "/none"]
# Seconds in which it stops, with 20 browsers connected or without Redis; a busy machine takes its share.
STOP_LIMIT = 5.0


def get(process: ServiceProcess, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}{path}", timeout=5) as response:
        return str(response.read().decode())


def open_stream(process: ServiceProcess) -> socket.socket:
    connection = socket.create_connection((ADDRESS, process.port), 5)
    connection.sendall(f"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    assert connection.recv(4_096).startswith(b"HTTP/1.1 200")
    return connection


@pytest.fixture(scope="module")
def webui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("webui")
    (folder / "token").write_text(f"{TOKEN}\n")
    with redis_server(folder / "redis") as redis, service_processes(folder) as processes:
        redis.client().config_set("requirepass", PASSWORD)
        url = redis.url.replace("://", f"://:{PASSWORD}@")
        secret = {"REDIS_URL": url, "TOKEN_FILE": folder / "token", "LOG_LEVEL": "debug"}
        process = processes.start("webui", BIND_ADDRESS=ADDRESS, **secret)
        process.wait_until_started()
        yield process


def test_it_listens_only_where_it_is_configured_to(webui: ServiceProcess) -> None:
    listening = psutil.Process(webui.popen.pid).net_connections("tcp")
    assert {each.laddr.ip for each in listening if each.status == psutil.CONN_LISTEN} == {ADDRESS}


def test_a_token_from_a_file_opens_it_and_no_secret_is_in_any_response_or_log_line(webui: ServiceProcess) -> None:
    answers = b""
    for path in (*PATHS, f"/?token={TOKEN}", f"/json?token={TOKEN}x"):
        for headers in ("", f"Authorization: Bearer {TOKEN}\r\n"):
            with socket.create_connection((ADDRESS, webui.port), 0.2) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n".encode())
                with contextlib.suppress(TimeoutError):  # events do not end
                    while piece := connection.recv(65_536):
                        answers += piece
    assert answers.count(b"HTTP/1.1 200") > len(PATHS) / 2
    assert b"HTTP/1.1 401" in answers
    for secret in (TOKEN, PASSWORD):
        assert secret.encode() not in answers
        assert secret not in webui.text


def test_it_stops_at_once_with_browsers_connected(webui: ServiceProcess) -> None:
    browsers = [open_stream(webui) for _ in range(20)]  # they read nothing from now on
    assert webui.stop(signal.SIGTERM, STOP_LIMIT) == 0
    for browser in browsers:
        while browser.recv(65_536):
            pass  # up to the end, which is an orderly one
        browser.close()
    for secret in ("Traceback", TOKEN, PASSWORD):
        assert secret not in webui.text


def test_without_redis_it_is_alive_not_ready_and_stops_at_once(processes: ServiceProcesses) -> None:
    webui = processes.start("webui", REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    webui.wait_for("redis is away")
    assert get(webui, "/healthz") == "alive\n"
    with pytest.raises(urllib.error.HTTPError, match="503") as caught:
        get(webui, "/readyz")
    caught.value.close()
    assert webui.stop(signal.SIGINT, STOP_LIMIT) == 0


def test_a_taken_port_is_one_line(redis: RedisServer, processes: ServiceProcesses) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        webui = processes.start("webui", REDIS_URL=redis.url, PORT=port)
        assert webui.popen.wait(30) == 1
    assert f"PORT={port}: port {port} of 127.0.0.1 is already in use" in webui.text
    assert webui.text.count("\n") == 1


def test_a_bad_secret_is_one_line_without_it_and_exit_code_two(processes: ServiceProcesses) -> None:
    webui = processes.start("webui", TOKEN="with space in between it")
    assert webui.popen.wait(30) == 2
    assert webui.text.startswith("webui: TOKEN is not allowed: it must be 16 to 256 ")
    assert webui.text.count("\n") == 1
