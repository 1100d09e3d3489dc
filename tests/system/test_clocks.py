import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mine import Mine
from support.programs import skip_or_fail
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses, local_target
from support.waiting import wait_until
from support.webui_page import FollowedPage

CLASSIC_SPEED = pytest.approx(10 / 3, rel=0.25)
MOST_WITH_ONE_RNG = 10.1
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

# A page is right, or shows no speed, within five seconds; on a busy machine it takes longer.
SHOWN_WITHIN_S = 20.0
WATCHED_S = 1.0


def with_clock(file: Path) -> dict[str, str]:
    """The environment of a process whose wall clock is ahead by what the file says; its monotonic clock is not."""
    return {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.fixture
def clocks(tmp_path: Path) -> dict[str, Path]:
    if not LIBRARIES:
        skip_or_fail("there is no libfaketime; on Debian and Ubuntu, install faketime")
    files = {name: tmp_path / f"{name}.clock" for name in ("worker-1", "worker-2", "webui", "redis")}
    for file in files.values():
        file.write_text("+0")
    return files


@pytest.fixture
def redis(clocks: dict[str, Path], tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    variables = (f"{name}={value}" for name, value in with_clock(clocks["redis"]).items())
    server._command = ("env", *variables, *server._command)
    server.start()
    yield server
    server.stop()


def test_the_page_is_right_soon_after_any_step_and_counts_are_untouched(
    clocks: dict[str, Path], redis: RedisServer, processes: ServiceProcesses
) -> None:
    targets = {f"{name}_TARGET": local_target(processes.start(name.lower())) for name in ("RNG", "HASHER")}
    workers = [
        processes.start("worker", INSTANCE=name, REDIS_URL=redis.url, **targets, **with_clock(clocks[name]))
        for name in ("worker-1", "worker-2")
    ]
    webui = processes.start("webui", REDIS_URL=redis.url, **with_clock(clocks["webui"]))
    webui.wait_until_started()
    page = FollowedPage(webui.port)
    wait_until(lambda: page.speed / 2 == CLASSIC_SPEED)
    everything = tuple(clocks)
    steps = ((7_200, ("worker-1",)), (-3_600, ("webui",)), (300, ("redis",)), (-3_600, everything), (7_200, everything))
    for step_s, stepped in steps:
        for name in stepped:
            clocks[name].write_text(f"{step_s:+d}")
        ahead_s = step_s if "redis" in stepped else 0

        wrong_at = time.monotonic()

        def right(ahead_s: int = ahead_s) -> bool:
            nonlocal wrong_at
            is_off = abs(page.data["now"] - time.time() - ahead_s) > 5
            if page.speed / 2 != CLASSIC_SPEED or is_off or page.data["workers"] != 2:
                wrong_at = time.monotonic()
            return time.monotonic() - wrong_at >= WATCHED_S

        wait_until(right, SHOWN_WITHIN_S)
    assert all(0 <= hashes <= MOST_WITH_ONE_RNG for hashes in page.points)
    for worker in workers:
        assert worker.stop() == 0
    assert redis.hashes == sum(worker.units_logged for worker in workers)


def test_without_its_hasher_a_worker_waits_and_the_graph_goes_on_at_nothing(mine: Mine) -> None:
    mine.start_all()
    page = FollowedPage(mine.ports["webui"])
    wait_until(lambda: page.speed == CLASSIC_SPEED)
    mine.running["hasher"].send(signal.SIGSTOP)
    wait_until(lambda: (page.data["speed"], page.data["waits_for"]) == (0, ["hasher"]), SHOWN_WITHIN_S)
    wait_until(lambda: ("waiting", "hasher") in [(each["kind"], each["service"]) for each in page.annotations])
    wait_until(lambda: page.points[-3:] == [0, 0, 0])
    mine.running["hasher"].send(signal.SIGCONT)
    wait_until(lambda: page.speed == CLASSIC_SPEED and page.data["waits_for"] == [])
    assert mine.running["worker"].stop() == 0
    # Half of the worker's first batch, which is one hash at this pace, is not drawn.
    drawn = mine.redis.hashes - 0.5
    wait_until(lambda: sum(hashes or 0.0 for hashes in page.history()) == pytest.approx(drawn, abs=1e-3))
