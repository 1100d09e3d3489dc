import asyncio
import os
import subprocess
import sys
import time

import psutil
from perf import many_servers
from perf.conftest import Figures
from support.rng_servers import PoolClient
from support.waiting import until

SETTLING_S = 12.0
ROUNDS = 3
# Of a round; in each there is one look-up.
SECONDS = 20.0
MIB = 1 << 20


def test_64_idle_endpoints(figures: Figures) -> None:
    """Keepalive, streams and the look-ups of a name with 64 addresses, of a pool that has no batches."""
    command = [sys.executable, "-m", many_servers.__name__]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as servers:
        assert servers.stdout is not None
        try:
            megabytes, cpu_s = asyncio.run(_idle(servers.stdout.readline().strip()))
        finally:
            servers.terminate()
    figures.check("64 idle endpoints: memory", megabytes, 15e6 / MIB, "MiB")
    figures.check("64 idle endpoints: CPU per second", cpu_s * 1e3, 1.5, "ms")


async def _idle(target: str) -> tuple[float, float]:
    process = psutil.Process()
    before = process.memory_info().rss
    async with PoolClient(target=target, window=0).running() as client:
        await until(lambda: len(client.pool.replicas) == many_servers.COUNT, 30)
        await asyncio.sleep(SETTLING_S)
        rounds = []
        for _ in range(ROUNDS):
            began = time.process_time()
            await asyncio.sleep(SECONDS)
            rounds.append((time.process_time() - began) / SECONDS)
        return (process.memory_info().rss - before) / MIB, min(rounds)
