import time

import psutil
from perf.conftest import Figures
from support.mine import SERVICES, Mine
from support.waiting import wait_until

SECONDS = 20.0
WARM_UP_S = 6.0
MIB = 1 << 20

# Cores. 0.025 to 0.028 was measured on a fast machine, 0.028 to 0.043 on slow ones.
MAX_CPU = 0.05


def test_five_processes_at_the_classic_pace(figures: Figures, mine: Mine) -> None:
    mine.start_all()
    pids = [mine.running[name].popen.pid for name in SERVICES]
    processes = [psutil.Process(pid) for pid in (*pids, mine.redis.pid)]
    wait_until(lambda: mine.redis.hashes)
    time.sleep(WARM_UP_S)
    before, began_us = cpu_seconds(processes), time.time() * 1e6
    time.sleep(SECONDS)
    used = cpu_seconds(processes) - before
    entries = [entry for _, entry in mine.redis.client().xrange("reports") if int(entry["begin_us"]) >= began_us]
    hashes = sum(int(entry["hashes"]) for entry in entries)
    seconds = sum(int(entry["end_us"]) - int(entry["begin_us"]) for entry in entries) / 1e6
    resident = sum(process.memory_info().rss for process in processes)
    figures.check("one worker's distance from 3.33 hashes/s", abs(hashes / seconds * 0.3 - 1) * 100, 1.5, "%")
    figures.check("CPU of five processes at the classic pace", used / SECONDS, MAX_CPU, "cores")
    figures.check("memory of five processes", resident / MIB, 350e6 / MIB, "MiB")


def cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(spent.user + spent.system for spent in (process.cpu_times() for process in processes))
