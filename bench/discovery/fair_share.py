"""How long new replicas wait for a fair share, by the way in which a client keeps its streams.

One replica serves at full speed when two more appear. What they can do is limited by waiting and not by CPU: on two
cores more replicas that compute would add nothing, and any balancing would look good. The runs of one way take place
side by side, and the replicas of each appear at another moment of the way's period.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import progress
from bench.bound import AtMost, Bound
from bench.discovery.fleet import ADDRESSES, Fleet, fleets
from bench.discovery.load import full_load
from bench.discovery.way import WAYS, Way
from bench.dns_server import dns_server
from bench.processes import START_LIMIT, BenchError

DELAY = 0.02
CONCURRENCY = 2
SPEED_OF_ONE = CONCURRENCY / DELAY
"""Batches a second."""

WINDOW = 24
"""Batches in flight: two in work and two on their way for each of three replicas, and as many again."""

SHARE = 0.2
"""Part of the batches that is fair: three that are equally busy have a third each."""

SHARE_WINDOW = 0.5
"""Seconds in which shares and speeds are counted; a share is had at the end of the first window that shows it."""

LOOK_EVERY = 0.02
"""Seconds."""

LIMIT = 20.0
"""Seconds after which the share never comes; connections of 10 s with 5 s grace take up to 16 (a tenth of jitter)."""

BOUND = 3.0
"""Seconds in which our own way is to share, as the integration tests have it."""


@dataclass(frozen=True)
class Outcome:
    """One run."""

    seconds: list[float | None]
    """For each new replica, until it has its share; None: not within the limit."""
    broken_streams: int
    failed_messages: int


async def observe(way: Way, fleet: Fleet, wait: float) -> Outcome | None:
    """Have two replicas appear after so many seconds of full speed, and see; None where one never is at full speed."""
    client = way.client(fleet.target, WINDOW)
    fleet.appear(ADDRESSES[0])
    async with full_load(client, WINDOW):
        if not await _reaches_full_speed(fleet):
            return None
        await asyncio.sleep(wait)
        waiting = fleet.appear(*ADDRESSES[1:])
        appeared = time.monotonic()
        seconds: dict[str, float] = {}
        while (now := time.monotonic()) < appeared + LIMIT and len(seconds) < len(waiting):
            shares = fleet.evidence.shares(now - SHARE_WINDOW, now)
            for instance in waiting:
                if shares.get(instance, 0) >= SHARE:
                    seconds.setdefault(instance, now - appeared)
            await asyncio.sleep(LOOK_EVERY)
        return Outcome([seconds.get(each) for each in waiting], client.broken_streams, len(client.failed_messages))


async def _reaches_full_speed(fleet: Fleet) -> bool:
    limit = time.monotonic() + START_LIMIT
    while (now := time.monotonic()) < limit:
        if fleet.evidence.speed(now - SHARE_WINDOW, now) >= 0.9 * SPEED_OF_ONE:
            return True
        await asyncio.sleep(LOOK_EVERY)
    return False


async def measure_way(way: Way, repeats: int, folder: Path) -> list[Outcome]:
    """The runs of one way. Raises BenchError when servers do not come up, or one of them is not at full speed."""
    names = [f"rng-{number}.test" for number in range(repeats)]
    environment = {"DELAY": f"{DELAY}", "CONCURRENCY": f"{CONCURRENCY}", **way.servers}
    with dns_server(*names) as dns, fleets(dns, folder, dict.fromkeys(names, environment)) as started:
        waits = [way.period * number / repeats for number in range(repeats)]
        runs = (observe(way, fleet, wait) for fleet, wait in zip(started, waits, strict=True))
        outcomes = [outcome for outcome in await asyncio.gather(*runs) if outcome is not None]
    if len(outcomes) < repeats:
        raise BenchError(f"{way.name}: one replica is not at full speed; the machine is too busy")
    return outcomes


def measure(names: list[str], repeats: int, folder: Path) -> dict[str, list[Outcome]]:
    """Outcomes by the way's short name."""
    outcomes = {}
    for name in names:
        progress.show(f"fair share: {WAYS[name].name}")
        place = folder / name
        place.mkdir()
        outcomes[name] = asyncio.run(measure_way(WAYS[name], repeats, place))
    progress.show("")
    return outcomes


def lines(outcomes: dict[str, list[Outcome]]) -> Iterator[str]:
    """The table."""
    yield f"1 -> 3 replicas: seconds until each new one has its share (>= {SHARE:.0%} of the batches in 0.5 s)"
    yield f"{'':<50} {'least':>6} {'most':>6} {'streams broken':>15} {'messages failed':>16}"
    for name, runs in outcomes.items():
        all_seconds = [seconds for run in runs for seconds in run.seconds]
        had = [seconds for seconds in all_seconds if seconds is not None]
        least = f"{min(had):.1f}" if had else "never"
        most = f"{max(had):.1f}" if len(had) == len(all_seconds) else "never"
        broken = statistics.mean(run.broken_streams for run in runs)
        failed = statistics.mean(run.failed_messages for run in runs)
        yield f"{WAYS[name].name:<50} {least:>6} {most:>6} {broken:>15.1f} {failed:>16.1f}"
    repeats = len(next(iter(outcomes.values())))
    yield f"{repeats} runs each, the new ones appearing at as many moments of the way's period"
    yield f"never: not within {LIMIT:.0f} s; streams and messages a run; those that failed were asked again"


def bounds(outcomes: dict[str, list[Outcome]]) -> list[Bound]:
    """What the worker's own way is held to."""
    runs = outcomes.get("generations")
    if runs is None:
        return []
    slowest = max(LIMIT if seconds is None else seconds for run in runs for seconds in run.seconds)
    broken = sum(run.broken_streams for run in runs)
    return [
        AtMost("the worker's pool: slowest share, s", slowest, BOUND),
        AtMost("the worker's pool: streams broken", broken, 0),
    ]
