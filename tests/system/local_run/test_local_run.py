"""A whole system, started, broken and stopped as people do it."""

import json
import signal
import socket
import time
import urllib.request
from collections.abc import Callable

import psutil
import pytest
from system.local_run.local_run_process import LocalRun

pytestmark = pytest.mark.pair(
    reason="five processes start at a time, and stopping is held to 3.5 s, of which what it waits for takes up to 3"
)

STOP_LIMIT = 3.5
"""Seconds from the signal to the last process gone (the design's number)."""

Start = Callable[..., LocalRun]


def fetch(run: LocalRun, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{run.webui_port}{path}", timeout=5) as response:
        text: str = response.read().decode()
        return text


def hashes(run: LocalRun) -> int:
    return int(json.loads(fetch(run, "/json"))["hashes"])


def wait_for_new(run: LocalRun, name: str, old: psutil.Process, limit: float) -> psutil.Process:
    deadline = time.monotonic() + limit
    while (new := run.processes().get(name)) is None or new.pid == old.pid:
        assert time.monotonic() < deadline, run.output
        time.sleep(0.02)
    return new


def test_it_mines_and_says_where_the_page_is(start: Start) -> None:
    run = start()
    page = run.wait_for(r"^run +\| the page is at (http://\S+/) \(Ctrl-C stops everything\)$")[1]
    assert page == f"http://127.0.0.1:{run.webui_port}/"
    assert "<html" in fetch(run, "/")
    run.wait_until_mining()
    assert list(run.processes()) == ["redis", "rng-1", "hasher-1", "webui", "worker-1"]
    assert run.signal_and_wait(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_in_order_and_in_time(start: Start, number: signal.Signals) -> None:
    run = start()
    run.wait_until_mining()
    code, took = run.signal_and_wait(number)
    assert (code, took < STOP_LIMIT) == (0, True), (took, run.output)
    names = [line.split()[0] for line in run.output.splitlines() if " stopped" in line]
    assert names[0] == "worker-1"
    assert sorted(names[1:-1]) == ["hasher-1", "rng-1", "webui"]
    assert names[-1] == "run"


def test_redis_stops_when_all_others_are_gone(start: Start) -> None:
    run = start()
    run.wait_until_mining()
    processes = run.processes()
    run.popen.send_signal(signal.SIGTERM)
    others = [process for name, process in processes.items() if name != "redis"]
    _, alive = psutil.wait_procs([processes["redis"]], timeout=10)
    assert not alive
    assert not [process for process in others if process.is_running()]
    assert run.popen.wait(5) == 0


def test_it_stops_while_it_starts(start: Start) -> None:
    run = start()
    run.wait_for(r"^rng-1 ")
    code, took = run.signal_and_wait(signal.SIGINT)
    assert (code, took < STOP_LIMIT) == (0, True), (took, run.output)


def test_replicas_share_the_work(start: Start) -> None:
    run = start(WORKERS="2", RNGS="2", HASHERS="2", PACE="full", BATCH_SIZE="256")
    run.wait_until_mining("worker-1", "worker-2")
    names = ["redis", "rng-1", "rng-2", "hasher-1", "hasher-2", "webui", "worker-1", "worker-2"]
    assert list(run.processes()) == names
    for server in ("rng-1", "rng-2"):
        run.wait_for(rf"^{server} .*StreamRandomBytes .*batches=[1-9]")
    for server in ("hasher-1", "hasher-2"):
        run.wait_for(rf"^{server} .*StreamHashes .*batches=[1-9]")
    code, took = run.signal_and_wait(signal.SIGINT)
    assert (code, took < STOP_LIMIT) == (0, True), (took, run.output)


@pytest.mark.parametrize("name", ["worker-1", "rng-1", "redis"])
def test_what_died_of_a_signal_is_started_again(start: Start, name: str) -> None:
    run = start()
    run.wait_until_mining()
    time.sleep(2)  # it counts as started then; one that dies sooner is given a pause
    old = run.processes()[name]
    old.kill()
    wait_for_new(run, name, old, limit=2)
    run.wait_for(rf"^run +\| {name} died of SIGKILL and is started again$")
    before = run.output.count("units of work done")
    deadline = time.monotonic() + 15
    while run.output.count("units of work done") < before + 2:
        assert time.monotonic() < deadline, run.output
        time.sleep(0.05)
    assert run.signal_and_wait(signal.SIGTERM)[0] == 0


def test_what_ended_well_stays_away(start: Start) -> None:
    run = start()
    run.wait_until_mining()
    time.sleep(2)
    run.processes()["worker-1"].terminate()
    run.wait_for(r"^run +\| worker-1 ended by itself and stays away$")
    assert run.signal_and_wait(signal.SIGTERM)[0] == 0


def test_a_second_run_goes_on_with_the_data(start: Start) -> None:
    first = start()
    first.wait_until_page_is_there()
    first.wait_until_mining()
    first.signal_and_wait(signal.SIGINT)
    counted = sum(int(line.split(" units")[0].split()[-1]) for line in first.output.splitlines() if " units of" in line)
    assert counted > 0
    second = start()
    second.wait_until_page_is_there()
    assert hashes(second) >= counted
    second.signal_and_wait(signal.SIGINT)


def test_a_second_signal_kills_what_is_left(start: Start) -> None:
    run = start()
    run.wait_until_mining()
    run.processes()["worker-1"].suspend()
    run.popen.send_signal(signal.SIGINT)
    run.wait_for(r"^run +\| stopping")
    code, took = run.signal_and_wait(signal.SIGINT)
    assert (code, took < 1) == (1, True), (took, run.output)
    run.wait_for(r"^run +\| worker-1 died of SIGKILL$")


def test_what_does_not_stop_is_killed(start: Start) -> None:
    run = start()
    run.wait_until_mining()
    run.processes()["rng-1"].suspend()
    code, _ = run.signal_and_wait(signal.SIGTERM)
    assert code == 1
    run.wait_for(r"^run +\| rng-1 did not stop within 3\.5 s and is killed$")


def test_a_taken_port_is_one_line(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        run = start(HASHER_PORT=str(port))
        assert run.popen.wait(10) == 1
    assert run.output == f"hasher-1: port {port} is already in use; choose another with HASHER_PORT=…\n"


def test_two_runs_on_the_same_data_is_one_line(start: Start) -> None:
    first = start()
    first.wait_for(r"^rng-1 ")
    second = start()
    assert second.popen.wait(10) == 1
    assert "is in use by another run; choose another with DATA_DIR=…" in second.output


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PACE", "fast", "PACE='fast' is not allowed: it must be classic or full\n"),
        ("BATCH_SIZE", "abc", "worker-1: BATCH_SIZE='abc' is not allowed: it must be "),
        ("RNGS", "99", "RNGS='99' is not allowed: it must be a whole number from 1 to 49 (rng processes)\n"),
        ("REDIS_URL", "", "REDIS_URL='' is not allowed: it must be "),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(start: Start, name: str, value: str, line: str) -> None:
    run = start(**{name: value})
    assert run.popen.wait(10) == 2
    assert run.output.startswith(line)
    assert run.output.count("\n") == 1
