"""What it does to a service when its servers leave the rotation while they are busy.

Three serial servers are given, by ten clients, less work than they can do together and more than two of them can. In
one half of the runs they are always SERVING, in the other one they are NOT_SERVING while they have more than a few
batches. Both halves are given the same batches at the same moments, side by side, first by the worker's pools and then
by clients that make single calls.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import progress
from bench.discovery.counted_pool import CountedPool
from bench.discovery.fleet import ADDRESSES, Fleet, fleets
from bench.discovery.health_watch import HealthWatch
from bench.discovery.load import BATCH_SIZE, MESSAGE_SIZE, running
from bench.discovery.single_calls import SingleCalls
from bench.discovery.way import Client
from bench.dns_server import dns_server
from worker_svc.batch import Batch

DELAY = 0.02
"""Seconds a batch: 50 a second by each server, 150 by all."""

OFFERED = 120.0
"""Batches a second, of all clients together."""

BURST = 6
"""Batches that one client has at the same moment; the moments are random."""

CLIENTS = 10

QUEUE_LIMIT = 5
"""Batches in a server, 0.1 s of work, beyond which it says NOT_SERVING in the second half of the runs."""

WINDOW = 24
"""Batches that a client expects to have in flight."""

SETTLING_TIME = 2.5
"""Seconds that clients have to find all servers: a generation and more."""

SECONDS = 15.0

DRAIN_LIMIT = 5.0
"""Seconds after the last batch in which what is left is to be answered, for its latency counts, too."""

LOOK_EVERY = 0.02
"""Seconds."""

HEALTH = {"always SERVING": 0, f"NOT_SERVING beyond {QUEUE_LIMIT} batches": QUEUE_LIMIT}
"""Settings of the servers' queue limit, by what they do."""


def _pool(target: str, number: int) -> Client:
    return CountedPool(target, client_id=f"client-{number}", window=WINDOW)


def _single_calls(target: str, _: int) -> Client:
    return SingleCalls(target)


CLIENT_KINDS: dict[str, Callable[[str, int], Client]] = {"worker's pools": _pool, "single calls": _single_calls}


@dataclass(frozen=True)
class Outcome:
    """One run."""

    offered: int
    """Batches."""
    answered: int
    """By the time that the last one was offered."""
    failed: int
    latencies: list[float]
    """Seconds, of all that were answered."""
    nobody: float
    """Seconds in which no server was SERVING, while batches were offered."""


def arrivals(seed: int) -> Iterator[tuple[float, int]]:
    """Moments, in seconds, and which client has a burst then."""
    chance = random.Random(seed)  # noqa: S311 - the same chance for all
    moment = 0.0
    while (moment := moment + chance.expovariate(OFFERED / BURST)) < SECONDS:
        yield moment, chance.randrange(CLIENTS)


async def observe(make_client: Callable[[str, int], Client], fleet: Fleet, seed: int) -> Outcome:
    """Give a fleet all its batches."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    clients = [make_client(fleet.target, number) for number in range(CLIENTS)]
    for client in clients:
        client.on_answer = lambda batch: latencies.append(loop.time() - batch.begun)
    watch = HealthWatch(fleet)
    async with running(watch.run(), *(client.run() for client in clients)):
        await asyncio.sleep(SETTLING_TIME)
        began, before = loop.time(), watch.nobody
        offered = 0
        for moment, number in arrivals(seed):
            await asyncio.sleep(began + moment - loop.time())
            for _ in range(BURST):
                offered += 1
                clients[number].submit(Batch(offered, BATCH_SIZE, MESSAGE_SIZE, loop.time()))
        answered, nobody = len(latencies), watch.nobody - before
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_LIMIT):
                while len(latencies) < offered:  # noqa: ASYNC110 - the batches are of many clients
                    await asyncio.sleep(LOOK_EVERY)
    await asyncio.gather(*(client.close(0.3) for client in clients))
    return Outcome(offered, answered, offered - len(latencies), latencies, nobody)


async def measure_all(repeats: int, folder: Path) -> dict[tuple[str, str], list[Outcome]]:
    """Outcomes by kind of client and health."""
    names = {
        f"limit-{limit}-{seed}.test": (health, seed) for seed in range(repeats) for health, limit in HEALTH.items()
    }
    environment = {"DELAY": f"{DELAY}", "CONCURRENCY": "1"}
    settings = {name: {**environment, "QUEUE_LIMIT": f"{HEALTH[health]}"} for name, (health, _) in names.items()}
    outcomes: dict[tuple[str, str], list[Outcome]] = {}
    with dns_server(*names) as dns, fleets(dns, folder, settings) as started:
        for fleet in started:
            fleet.appear(*ADDRESSES)
        for kind, make_client in CLIENT_KINDS.items():
            progress.show(f"health under load: {kind}")
            runs = (observe(make_client, fleet, seed) for fleet, (_, seed) in zip(started, names.values(), strict=True))
            for outcome, (health, _) in zip(await asyncio.gather(*runs), names.values(), strict=True):
                outcomes.setdefault((kind, health), []).append(outcome)
    return outcomes


def measure(repeats: int, folder: Path) -> dict[tuple[str, str], list[Outcome]]:
    """Outcomes by kind of client and health."""
    progress.show("health under load: starting servers")
    outcomes = asyncio.run(measure_all(repeats, folder))
    progress.show("")
    return outcomes


def lines(outcomes: dict[tuple[str, str], list[Outcome]]) -> Iterator[str]:
    """The table."""
    speed = 1 / DELAY
    yield (
        f"Three serial servers, {speed:.0f} batches/s each, offered {OFFERED:.0f}/s by {CLIENTS} clients "
        f"in bursts of {BURST}"
    )
    yield (
        f"{'':<46} {'offered/s':>9} {'answered/s':>10} {'failed':>7} {'median s':>8} {'99 % s':>7} "
        f"{'nobody SERVING':>14}"
    )
    for (kind, health), runs in outcomes.items():
        total = SECONDS * len(runs)
        offered, answered = sum(run.offered for run in runs), sum(run.answered for run in runs)
        failed = sum(run.failed for run in runs) / offered
        latencies = sorted(latency for run in runs for latency in run.latencies)
        middle, late = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
        nobody = sum(run.nobody for run in runs) / total
        yield (
            f"{kind + ', ' + health:<46} {offered / total:>9.1f} {answered / total:>10.1f} {failed:>7.1%} "
            f"{middle:>8.2f} {late:>7.2f} {nobody:>14.1%}"
        )
    repeats = len(next(iter(outcomes.values())))
    yield f"{repeats} runs of {SECONDS:.0f} s, side by side, with the same batches at the same moments in every row"
    yield "The pools keep their old streams while nobody is SERVING, so batches wait; single calls fail at once then."
