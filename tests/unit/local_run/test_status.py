from typing import Any
from unittest.mock import Mock

from local_run.manager import State
from local_run.status import number, status_lines

URL = "http://127.0.0.1:8000/"


def process(name: str, state: State = State.RUNNING, restarts: int = 0) -> Any:
    each = Mock(state=state, restarts=restarts, pid=4711)
    each.program.name = name
    return each


def test_each_process_has_its_state_and_what_workers_report_of_it() -> None:
    worker = {"name": "worker-1", "state": "waiting", "waits_for": "rng", "speed": 3.333}
    gone = {"name": "worker-1", "state": "gone", "waits_for": "", "speed": 0.0}
    dashboard = {
        "redis": True,
        "speed": 3.3333,
        "hashes": 4_274_942,
        "coins": 12,
        "waits_for": ["rng"],
        "topology": {"rng": {"replicas": [{"name": "rng-10", "state": "slow", "share": 0.5}]}}
        | {"worker": {"replicas": [worker, gone]}},
    }
    processes = [process("redis"), process("rng-10"), process("rng-9", State.PAUSED), process("worker-1", restarts=2)]
    assert status_lines(URL, dashboard, processes) == [
        "DockerCoins  http://127.0.0.1:8000/",
        "",
        "  3.33 hashes/s   4,274,942 hashes   12 coins   waiting for rng",
        "",
        "  rng-9     paused",
        "  rng-10    slow               50% of the requests",
        "  worker-1  waiting                3.33 hashes/s  for rng  restarted 2 times",
        "  redis     running (4711)",
    ]


def test_the_address_is_there_without_the_page_and_without_redis_and_on_a_small_terminal() -> None:
    processes = [process(name) for name in ("webui", "redis", *(f"rng-{index}" for index in range(1, 40)))]
    assert status_lines(URL, None, processes)[:3] == [f"DockerCoins  {URL}", "", "  the page does not respond yet"]
    small = status_lines(URL, {"redis": False}, processes, rows=12, columns=40)
    assert small[0] == f"DockerCoins  {URL}"
    assert small[2] == "  Redis is unavailable; workers queue t"
    assert [line[2:9].strip() for line in small[4:]] == ["rng-1", "rng-2", "… and 3", "webui", "redis"]
    assert len(small) < 12
    assert max(map(len, small)) < 40


def test_numbers_are_readable() -> None:
    assert [number(value) for value in (0, 3.0, 3.333, 99.5, 100.4, 4_274_942.3)] == [
        *("0", "3", "3.33", "99.5", "100", "4,274,942")
    ]
