import contextlib
import signal
import socket
from pathlib import Path

import psutil
from support.free_port import free_port
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses

TOKEN = "open-sesame-0123456789"
PASSWORD = "guess-me-not"
ADDRESS = "127.0.0.2"
PATHS = ["/", "/json", "/api/history", "/api/load-tests", "/events", "/static/page.js", "/readyz", "/healthz", "/none"]
BEARER = f"Authorization: Bearer {TOKEN}\r\n"
# Seconds in which it stops, with 20 browsers connected or without Redis; a busy machine takes its share.
STOP_LIMIT = 5.0


def request(webui: ServiceProcess, path: str, headers: str = BEARER) -> socket.socket:
    connection = socket.create_connection((ADDRESS, webui.port), 5)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n".encode())
    return connection


def test_it_listens_at_its_address_shows_no_secret_and_stops_at_once_with_browsers_connected(
    own_redis: RedisServer, processes: ServiceProcesses, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    own_redis.client().config_set("requirepass", PASSWORD)
    settings: dict[str, object] = {
        "REDIS_URL": own_redis.url.replace("://", f"://:{PASSWORD}@"),
        "TOKEN_FILE": tmp_path / "token",
    }
    settings |= {"ALLOWED_HOSTS": "a,b", "STREAMS_PER_CLIENT": 20}
    webui = processes.start("webui", BIND_ADDRESS=ADDRESS, LOG_LEVEL="debug", **settings)
    webui.wait_until_started()
    listening = psutil.Process(webui.popen.pid).net_connections("tcp")
    assert {each.laddr.ip for each in listening if each.status == psutil.CONN_LISTEN} == {ADDRESS}
    answers = b""
    for path in (*PATHS, "http://elsewhere/json", f"/?token={TOKEN}", f"/json?token={TOKEN}x"):
        for headers in ("", BEARER):
            with request(webui, path, headers) as connection, contextlib.suppress(TimeoutError):
                connection.settimeout(0.2)  # events do not end
                while piece := connection.recv(65_536):
                    answers += piece
    assert answers.count(b"HTTP/1.1 200") > len(PATHS) / 2
    assert b"HTTP/1.1 401" in answers
    assert b"HTTP/1.1 421" in answers
    browsers = [request(webui, "/events") for _ in range(21)]
    statuses = [browser.recv(4_096).split()[1] for browser in browsers]  # they read no more for now
    assert (set(statuses[:19]), statuses[20]) == ({b"200"}, b"429")  # the stream of before may count still
    assert webui.stop(signal.SIGTERM, STOP_LIMIT) == 0
    for browser in browsers:
        while browser.recv(65_536):
            pass  # up to the end, which is an orderly one
        browser.close()
    assert "Traceback" not in webui.text
    for secret in (TOKEN, PASSWORD):
        assert secret.encode() not in answers
        assert secret not in webui.text


def test_without_redis_it_stops_at_once(processes: ServiceProcesses) -> None:
    webui = processes.start("webui", REDIS_URL=f"redis://127.0.0.1:{free_port()}", LOG_LEVEL="warning")
    webui.wait_for("Redis is unavailable")
    assert webui.stop(signal.SIGINT, STOP_LIMIT) == 0
    assert "[info" not in webui.text
