import asyncio
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

from support.free_port import free_port
from support.redis_server import RedisServer
from support.waiting import until

from chassis.health import Health
from chassis.settings import Pace
from chassis.telemetry import Telemetry
from hasher_svc.__main__ import hasher
from hasher_svc.settings import HasherSettings
from rng_svc.__main__ import rng
from rng_svc.settings import RngSettings
from worker_svc.settings import WorkerSettings
from worker_svc.tally import Tally
from worker_svc.worker import worker

ROOT = Path(__file__).parents[2]
OURS = tuple(str(ROOT / f"{name}/") for name in ("chassis", "rng_svc", "hasher_svc", "worker_svc"))

MAX_FILES = 16
MAX_CHANGES = 87

# Of several batches the path with the fewest files counts: others were interrupted by a report, a look-up or a check.
BATCHES = 40
# The classic pace has 0.1; what runs is the same.
DELAY_S = 0.02


@contextmanager
def traced() -> Iterator[list[CodeType]]:
    """Collect our functions in the order in which this thread enters them, or goes on with them."""
    entered: list[CodeType] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            entered.append(frame.f_code)

    sys.setprofile(note)
    try:
        yield entered
    finally:
        sys.setprofile(None)


def paths(entered: list[CodeType]) -> Iterator[list[CodeType]]:
    """Split what was entered into batches, each from one count to the next, without the incomplete ends."""
    counts = [position for position, code in enumerate(entered) if code is Tally.count.__code__]
    for begin, end in itertools.pairwise(counts):
        yield entered[begin + 1 : end + 1]


def files(path: list[CodeType]) -> list[str]:
    return [str(Path(name).relative_to(ROOT)) for name, _ in itertools.groupby(path, lambda code: code.co_filename)]


async def test_a_batch_can_be_followed_with_few_files_open(redis: RedisServer) -> None:
    ports = free_port(), free_port()
    settings = (
        RngSettings(pace=Pace.CLASSIC, delay=DELAY_S, instance="rng-1", port=ports[0]),
        HasherSettings(pace=Pace.CLASSIC, delay=DELAY_S, instance="hasher-1", port=ports[1]),
        WorkerSettings(
            pace=Pace.CLASSIC,
            delay=DELAY_S,
            instance="worker-1",
            rng_target=f"ipv4:127.0.0.1:{ports[0]}",
            hasher_target=f"ipv4:127.0.0.1:{ports[1]}",
            redis_url=redis.url,
        ),
    )
    healths = Health(), Health(), Health("rng", "hasher", "redis")
    async with rng(settings[0], Telemetry(healths[0])), hasher(settings[1], Telemetry(healths[1])):
        for health in healths:
            health.started()
        async with worker(settings[2], Telemetry(healths[2])):
            await until(lambda: healths[2].ready)
            await asyncio.sleep(0.5)
            with traced() as entered:
                await until(lambda: sum(code is Tally.count.__code__ for code in entered) > BATCHES)
    path = min(paths(entered), key=lambda path: (len(set(files(path))), len(files(path))))
    changes = len(files(path)) - 1
    sys.stdout.write(f"{len(set(files(path)))} files, {changes} changes of file\n")
    for name, codes in itertools.groupby(path, lambda code: code.co_filename):
        functions = ", ".join(code.co_qualname for code in codes)
        sys.stdout.write(f"  {Path(name).relative_to(ROOT)}: {functions}\n")
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert [name for name in files(path) if f"{Path(name).name}`" not in page] == []
    assert len(set(files(path))) <= MAX_FILES
    assert changes <= MAX_CHANGES
