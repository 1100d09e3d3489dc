"""The wall clocks of real processes step, by libfaketime, which leaves their monotonic ones alone."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses, local_target
from system.clocks.page import CLASSIC_SPEED, Page

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

SETTLED_WITHIN_S = 5.0
WATCHED_S = 3.0
MOST_WITH_ONE_RNG = 10.1


class WallClock:
    """The wall clock of one process, which the test sets."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead_s: int) -> None:
        self._file.write_text(f"{ahead_s:+d}")


@pytest.fixture
def clocks(tmp_path: Path) -> dict[str, WallClock]:
    if not LIBRARIES:
        reason = "libfaketime is missing: apt-get install faketime"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return {name: WallClock(tmp_path / f"{name}.clock") for name in ("worker-1", "worker-2", "webui", "redis")}


@pytest.fixture
def redis_with_clock(clocks: dict[str, WallClock], tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    variables = (f"{name}={value}" for name, value in clocks["redis"].environment.items())
    server._command = ("env", *variables, *server._command)
    server.start()
    yield server
    server.stop()


def test_the_page_is_right_within_five_seconds_of_any_step_and_counts_are_untouched(
    clocks: dict[str, WallClock], redis_with_clock: RedisServer, processes: ServiceProcesses
) -> None:
    redis = redis_with_clock
    servers = {f"{name}_TARGET": local_target(processes.start(name.lower())) for name in ("RNG", "HASHER")}
    workers = [
        processes.start("worker", INSTANCE=name, REDIS_URL=redis.url, **servers, **clocks[name].environment)
        for name in ("worker-1", "worker-2")
    ]
    webui = processes.start("webui", REDIS_URL=redis.url, **clocks["webui"].environment)
    webui.wait_until_started()
    page = Page(webui.port)

    page.wait_for_workers(2, 30)
    everything = tuple(clocks)
    for step_s, stepped in (
        (7_200, ("worker-1",)),
        (-3_600, ("webui",)),
        (300, ("redis",)),
        (-90, ("redis",)),
        (-3_600, everything),
        (7_200, everything),
        (0, everything),
    ):
        for name in stepped:
            clocks[name].set(step_s)
        page.wait_for_workers(2, SETTLED_WITHIN_S)
        until = time.monotonic() + WATCHED_S
        while time.monotonic() < until:
            assert 0.5 * page.data["speed"] == CLASSIC_SPEED, (step_s, stepped, page.data)
            assert page.data["workers"] == 2
            time.sleep(0.1)
        shown_at = time.time() + (step_s if "redis" in stepped else 0)
        assert page.data["now"] == pytest.approx(shown_at, abs=5), (step_s, stepped)
        if stepped == ("worker-1",):
            ahead_us = [
                int(entry["sent_us"]) - int(entry["redis_us"])
                for _, entry in redis.client().xrevrange("reports", count=4)
                if entry["instance"] == "worker-1"
            ]
            assert ahead_us[0] == pytest.approx(step_s * 1e6, rel=0.01)
    assert all(0 <= hashes <= MOST_WITH_ONE_RNG for hashes in page.points)
    for worker in workers:
        assert worker.stop() == 0
    assert int(redis.client().get("hashes")) == sum(worker.units_logged for worker in workers)
