"""The speed of workers that start and stop, with real services: it is never above what rng allows."""

import signal

import pytest
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses, local_target
from support.waiting import wait_until
from support.webui_page import FollowedPage

# Seconds per rng request, and the hashes per second that one rng allows, and one worker: hasher takes 0.1 s for each,
# and so does the worker.
RNG_S = 0.2
LIMIT = 1 / RNG_S
ALONE = 1 / (RNG_S + 0.2)

# What may be shown. The speeds of single workers are of times that end up to two seconds apart.
MOST = 1.05 * LIMIT
MOST_SHOWN = 1.1 * LIMIT

# On a busy machine, a second may have what the one before it was not given the CPU for.
SECONDS = 3

SETTLED_WITHIN_S = 60.0


def speeds_until(page: FollowedPage, steady: float) -> list[float]:
    """Return the speeds that are shown until the curve is steady."""
    shown: list[float] = []

    def is_steady() -> bool:
        shown.append(page.speed)
        return page.points[-SECONDS:] == pytest.approx([steady] * SECONDS, rel=0.2)

    wait_until(is_steady, SETTLED_WITHIN_S, lambda: page.points)
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
    shown = speeds_until(page, LIMIT)
    for worker in workers[1:]:
        worker.send(signal.SIGTERM)
    shown += speeds_until(page, ALONE)
    start(6, 9)
    shown += speeds_until(page, LIMIT)
    curve = page.history()
    means = [sum(curve[first : first + SECONDS]) / SECONDS for first in range(len(curve) - SECONDS + 1)]
    assert max(means) <= MOST, curve
    assert max(shown) <= MOST_SHOWN
