"""The workshop's numbers, as the page of a system that grows shows them.

On a busy machine speed is too low; `make perf` measures it to a hundredth.
"""

import time
from statistics import fmean

from support.free_port import free_ports
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses, local_target
from support.waiting import wait_until
from support.webui_page import FollowedPage

# A second is shown when all workers have reported it, and a new rng is found within two.
SETTLED_S = 5.0
MEASURED_S = 6
REACHED_WITHIN_S = 60.0


def points(page: FollowedPage, workers: int, least: float) -> list[float]:
    """Return the hashes in each of some seconds, once all workers report and make more than the least on average."""
    wait_until(lambda: page.data.get("workers") == workers)
    time.sleep(SETTLED_S)
    seen = len(page.points)
    measured: list[float] = []

    def is_reached() -> bool:
        measured[:] = page.points[seen:][-MEASURED_S:]
        return len(measured) == MEASURED_S and fmean(measured) > least

    wait_until(is_reached, REACHED_WITHIN_S, lambda: page.points)
    return measured


def test_one_worker_makes_three_and_a_third_a_serial_rng_ten_and_two_of_them_twenty(
    own_redis: RedisServer, processes: ServiceProcesses
) -> None:
    port = free_ports(2)
    hasher = local_target(processes.start("hasher"))
    targets = {"RNG_TARGET": f"ipv4:127.0.0.1:{port},127.0.0.1:{port + 1}", "HASHER_TARGET": hasher}
    processes.start("rng", PORT=port)
    webui = processes.start("webui", REDIS_URL=own_redis.url)
    webui.wait_until_started()
    page = FollowedPage(webui.port)
    processes.start("worker", REDIS_URL=own_redis.url, **targets)
    # Where whole batches were shown, half of the seconds would have 3 and the others 4.
    assert max(points(page, workers=1, least=0.8 * 10 / 3)) < 1.1 * 10 / 3
    for _ in range(5):
        processes.start("worker", REDIS_URL=own_redis.url, **targets)
    assert fmean(points(page, workers=6, least=8)) < 10.3
    processes.start("rng", PORT=port + 1).wait_until_started()
    assert fmean(points(page, workers=6, least=16)) < 20.6
