import asyncio
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
from support.free_port import free_port
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses

STREAMS = 20


def get(process: ServiceProcess, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}{path}", timeout=5) as response:
        return str(response.read().decode())


def open_stream(process: ServiceProcess) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", process.port), 5)
    connection.sendall(b"GET /events HTTP/1.1\r\nHost: webui\r\n\r\n")
    assert connection.recv(4_096).startswith(b"HTTP/1.1 200")
    return connection


@pytest.mark.pair(reason="stopping is held to 1 s")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_with_browsers_connected(
    redis: RedisServer, processes: ServiceProcesses, number: signal.Signals
) -> None:
    webui = processes.start("webui", REDIS_URL=redis.url)
    webui.wait_until_started()
    browsers = [open_stream(webui) for _ in range(STREAMS)]  # they read nothing from now on
    began = time.monotonic()
    assert webui.stop(number) == 0
    assert time.monotonic() - began < 1
    assert "Traceback" not in webui.text
    for browser in browsers:
        while browser.recv(65_536):
            pass  # up to the end, which is an orderly one
        browser.close()


@pytest.mark.pair(reason="stopping is held to 1 s")
def test_it_stops_at_once_without_redis(processes: ServiceProcesses) -> None:
    webui = processes.start("webui", REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    webui.wait_for("redis is away")
    assert get(webui, "/healthz") == "alive\n"
    with pytest.raises(urllib.error.HTTPError, match="503") as caught:
        get(webui, "/readyz")
    caught.value.close()
    began = time.monotonic()
    assert webui.stop() == 0
    assert time.monotonic() - began < 1


async def test_redis_away_is_said_now_and_then(processes: ServiceProcesses) -> None:
    webui = processes.start("webui", REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    webui.wait_for("redis is away")
    await asyncio.sleep(3)
    assert webui.text.count("redis is away") == 1


def test_a_taken_port_is_one_line(redis: RedisServer, processes: ServiceProcesses) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        webui = processes.start("webui", REDIS_URL=redis.url, PORT=port)
        assert webui.popen.wait(10) == 1
    assert f"PORT={port}: port {port} of 127.0.0.1 is already in use" in webui.text
    assert webui.text.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PORT", "x"), ("PORT", "-1"), ("PORT", "70000"), ("REDIS_URL", ""), ("REDIS_URL", "http://redis"), ("PACE", "x")],
)
def test_a_bad_setting_is_one_line_and_exit_code_two(processes: ServiceProcesses, variable: str, value: str) -> None:
    webui = processes.start("webui", **{"REDIS_URL": "redis://127.0.0.1:1", variable: value})
    assert webui.popen.wait(10) == 2
    assert webui.text.startswith(f"webui: {variable}={value!r} is not allowed: it must be ")
    assert webui.text.count("\n") == 1
