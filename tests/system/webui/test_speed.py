"""The speed of workers that start and stop, with real services: it is never above what rng allows."""

import signal
import time

from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses, local_target
from support.waiting import wait_until
from support.webui_page import FollowedPage

# Seconds per rng request, and the hashes per second that one rng allows.
RNG_S = 0.2
LIMIT = 1 / RNG_S

# What may be shown, as means of some seconds: on a busy machine, a second may have what the one before it was not given
# the CPU for. Without a rule for the first batches, the speed was 1.18 times the limit.
MOST = 1.1 * LIMIT
SECONDS = 3

# How long each number of workers is watched, from when it is shown on.
WATCHED_S = 12.0
STARTED_WITHIN_S = 60.0


def speeds_with(page: FollowedPage, workers: int) -> list[float]:
    """Return the speeds that are shown until this number of workers has run for a while."""
    shown: list[float] = []

    def is_running() -> bool:
        shown.append(page.speed)
        return page.data.get("workers") == workers

    wait_until(is_running, STARTED_WITHIN_S)
    until = time.monotonic() + WATCHED_S
    while time.monotonic() < until:
        shown.append(page.speed)
        time.sleep(0.05)
    return shown


def test_five_workers_at_once_five_to_one_and_one_to_five_show_no_more_than_rng_allows(
    processes: ServiceProcesses, own_redis: RedisServer
) -> None:
    servers = {"RNG_TARGET": processes.start("rng", DELAY=RNG_S), "HASHER_TARGET": processes.start("hasher")}
    targets = {name: local_target(server) for name, server in servers.items()}
    webui = processes.start("webui", REDIS_URL=own_redis.url)
    webui.wait_until_started()
    page = FollowedPage(webui.port)

    def start(first: int, last: int) -> list[ServiceProcess]:
        return [
            processes.start("worker", INSTANCE=f"worker-{number}", REDIS_URL=own_redis.url, **targets)
            for number in range(first, last + 1)
        ]

    workers = start(1, 5)
    shown = speeds_with(page, 5)
    for worker in workers[1:]:
        worker.send(signal.SIGTERM)
    shown += speeds_with(page, 1)
    start(6, 9)
    shown += speeds_with(page, 5)
    curve = [hashes or 0.0 for hashes in page.history()]
    means = [sum(curve[first : first + SECONDS]) / SECONDS for first in range(len(curve) - SECONDS + 1)]
    assert 0 < max(means) <= MOST, curve
    assert 0 < max(shown) <= MOST
