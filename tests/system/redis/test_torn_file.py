"""What is counted after the end of Redis's append-only file is lost, wherever it is cut.

Redis 7 and 8 keep the commands of half a transaction in the file, and execute them at the restart after the next.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest
from support.ledgers import report, send
from support.redis_server import RedisServer, redis_server

FIRST = report(1, coins=1, wallet=(("aa", b"x"),))
SECOND = report(2, hashes=20, coins=2, begin_us=FIRST.report.end_us, wallet=(("bb", b"y"), ("cc", b"z")))
REPORTS = {
    "w-1": (FIRST, SECOND),
    "w-2": (report(1, hashes=7, coins=1, begin_us=FIRST.report.end_us, worker="w-2", wallet=(("dd", b"v"),)),),
}
WALLET_LIMIT = 3
CUT_BYTES = 3


def file_in(folder: Path) -> Path:
    return next((folder / "appendonlydir").glob("*.incr.aof"))


def command_ends(file: bytes, begin: int) -> Iterator[int]:
    """Yield the offset behind each command from there on; none has a word that looks like the beginning of another."""
    for command in re.finditer(rb"\*\d+\r\n(?:\$.*?)(?=\*\d+\r\n\$|\Z)", file[begin:], re.DOTALL):
        yield begin + command.end()


@pytest.mark.parametrize("worker_id", REPORTS)
async def test_a_report_in_a_torn_file_is_counted_once(redis_program: str, tmp_path: Path, worker_id: str) -> None:
    """Cut within each command; a cut between two commands takes the whole transaction away."""
    whole = tmp_path / "whole"
    with redis_server(whole, program=redis_program) as redis:
        await send(redis.url, FIRST, wallet_limit=WALLET_LIMIT)
        before = file_in(whole).stat().st_size
        await send(redis.url, SECOND, wallet_limit=WALLET_LIMIT)
    for end in command_ends(file_in(whole).read_bytes(), before):
        cut = tmp_path / f"cut-{end}"
        shutil.copytree(whole, cut)
        with file_in(cut).open("r+b") as file:
            file.truncate(end - CUT_BYTES)
        with redis_server(cut, program=redis_program) as torn:
            await check_counts(torn, worker_id)


async def check_counts(torn: RedisServer, worker_id: str) -> None:
    await send(torn.url, *REPORTS[worker_id], worker_id=worker_id, wallet_limit=WALLET_LIMIT)
    counted = torn.content()
    torn.stop(SIGKILL)
    torn.start()
    assert torn.content() == counted, torn.folder.name
    await send(torn.url, *REPORTS["w-1"], wallet_limit=WALLET_LIMIT)
    content = torn.content()
    made = {name: REPORTS[name] for name in ("w-1", worker_id)}
    assert int(content["hashes"]) == sum(each.report.hashes for reports in made.values() for each in reports)
    assert int(content["coins"]) == sum(each.report.coins for reports in made.values() for each in reports)
    taken = [(entry["worker"], entry["sequence"]) for _, entry in content["reports"]]
    assert sorted(taken) == [(name, str(each.report.sequence)) for name, reports in made.items() for each in reports]
