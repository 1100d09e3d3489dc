"""The pipeline at each batch size, beside the same work in one process and the same pipeline with hashing left out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import bare_work, progress
from bench.bare_work import MESSAGE_SIZE, BareWork
from bench.bound import AtLeast, AtMost, Bound
from bench.spread import Spread
from bench.system import Servers, servers
from bench.turn import Turn, take_turn
from load_test import machine

LOOP_SECONDS = 0.4

REPORT_INTERVAL = 0.5
"""Seconds. Less than the default, so that a turn is short."""

LEAST_OF_LOOP = 2.2
"""Times the hashlib loop, at the best batch size."""

MOST_BEYOND = 150
"""CPU nanoseconds a hash at the best batch size, beyond urandom and SHA-256."""


@dataclass(frozen=True)
class Round:
    """What one batch size did, all within seconds of each other."""

    loop: float
    """Hashes a second in one process by hashlib."""
    kernel_loop: float
    """The same by the kernel; without one, that of hashlib again."""
    bare: BareWork
    pipeline: Turn
    unhashed: Turn
    """The pipeline with a hasher that does not hash: no hashing can make it faster than that."""

    @property
    def of_loop(self) -> float:
        """The pipeline's speed, of the loop's."""
        return self.pipeline.speed / self.loop

    @property
    def beyond(self) -> float:
        """CPU nanoseconds a hash of all processes, beyond the work itself."""
        return self.pipeline.cpu_a_million * 1e3 - self.bare.total


Rounds = Mapping[int, Sequence[Round]]
"""By batch size."""


def _round(running: Servers, unhashing: str, batch_size: int, seconds: float) -> Round:
    settings = {"BATCH_SIZE": f"{batch_size}"}
    digests = bare_work.kernel_digests() or machine.digests
    return Round(
        machine.baseline_hashes_per_second(batch_size, MESSAGE_SIZE, LOOP_SECONDS),
        machine.baseline_hashes_per_second(batch_size, MESSAGE_SIZE, LOOP_SECONDS, digests),
        bare_work.measure(batch_size),
        take_turn(running, settings, seconds, REPORT_INTERVAL),
        take_turn(running, {**settings, "HASHER_TARGET": f"ipv4:{unhashing}"}, seconds, REPORT_INTERVAL),
    )


def measure(batch_sizes: Sequence[int], repeats: int, seconds: float, folder: Path) -> Rounds:
    """All batch sizes in turn, again and again, so that a machine whose speed drifts favours none of them.

    Raises BenchError when a service does not do its work.
    """
    rounds: dict[int, list[Round]] = {size: [] for size in batch_sizes}
    progress.show("batch sizes: starting servers")
    with (
        servers(folder, {"PACE": "full"}) as running,
        running.further_hasher("hasher-nothing", "-m", "bench.hasher", "nothing") as unhashing,
    ):
        for number in range(repeats):
            for size in batch_sizes:
                progress.show(f"batch sizes: round {number + 1} of {repeats}, {size}")
                rounds[size].append(_round(running, unhashing, size, seconds))
    progress.show("")
    return rounds


def _best(rounds: Rounds) -> Sequence[Round]:
    return max(rounds.values(), key=lambda runs: Spread([run.of_loop for run in runs]).median)


def lines(rounds: Rounds) -> Iterator[str]:
    """The tables."""
    repeats = len(next(iter(rounds.values())))
    yield "One rng, one hasher, one worker: millions of hashes a second"
    yield f"{'batch':>7} {'hashlib loop':>19} {'kernel loop':>19} {'pipeline':>22} {'with hashing left out':>22}"
    for size, runs in rounds.items():
        yield (
            f"{size:>7,} {_spread(run.loop / 1e6 for run in runs):>19} "
            f"{_spread(run.kernel_loop / 1e6 for run in runs):>19} "
            f"{_spread(run.pipeline.speed / 1e6 for run in runs):>22} "
            f"{_spread(run.unhashed.speed / 1e6 for run in runs):>22}"
        )
    yield ""
    yield "The pipeline's speed, of …; and CPU nanoseconds a hash of its processes, and of the work itself"
    yield (
        f"{'batch':>7} {'the hashlib loop':>21} {'the kernel loop':>21} {'no hashing':>18} "
        f"{'CPU':>23} {'urandom':>8} {'SHA-256':>8}"
    )
    for size, runs in rounds.items():
        yield (
            f"{size:>7,} {_spread(run.of_loop for run in runs):>21} "
            f"{_spread(run.pipeline.speed / run.kernel_loop for run in runs):>21} "
            f"{_spread(run.pipeline.speed / run.unhashed.speed for run in runs):>18} "
            f"{_spread(run.pipeline.cpu_a_million * 1e3 for run in runs):>23} "
            f"{Spread([run.bare.urandom for run in runs]).median:>8.0f} "
            f"{Spread([run.bare.sha256 for run in runs]).median:>8.0f}"
        )
    yield f"median (least-most) of {repeats} rounds in which all take turns; loops: one process, one urandom a batch"


def _spread(values: Iterator[float]) -> str:
    return str(Spread(list(values)))


def bounds(rounds: Rounds) -> list[Bound]:
    """What the best batch size is held to."""
    best = _best(rounds)
    of_loop, beyond = Spread([run.of_loop for run in best]), Spread([run.beyond for run in best])
    return [
        AtLeast("best batch, of the hashlib loop", of_loop.median, LEAST_OF_LOOP, of_loop.noise),
        AtMost("CPU a hash beyond urandom and SHA-256, ns", beyond.median, MOST_BEYOND, beyond.noise),
    ]
