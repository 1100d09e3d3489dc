import asyncio
import re

import pytest
from support.virtual_time import now

from webui_svc import past
from webui_svc.browsers import HEARTBEAT, MOST_BEHIND, Browser, Browsers


class Board:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.updates = 0

    def snapshot(self) -> bytes:
        return b"snapshot %d\n" % self.updates

    def update(self) -> bytes:
        self.updates += 1
        return b"update %d\n" % self.updates


@pytest.fixture
def open_pages() -> Browsers:
    board = Board()
    return Browsers(board.snapshot, board.update)


def updates(count: int) -> list[str]:
    return [f"update {number}" for number in range(1, count + 1)]


async def told(browser: Browser) -> tuple[list[str], str]:
    """The next events, and the id of the last one."""
    event = await browser.next()
    assert event is not None
    lines = event.decode().splitlines()
    return [line for line in lines if not line.startswith("id: ")], re.findall(r"id: (.*)", event.decode())[-1]


async def test_one_that_falls_behind_or_is_to_start_afresh_gets_a_snapshot_instead(open_pages: Browsers) -> None:
    with open_pages.join() as browser:
        await browser.next()
        for _ in range(MOST_BEHIND + 1):
            open_pages.tell_changes()
        assert (await told(browser))[0] == ["snapshot 9"]
        open_pages.tell_changes()
        assert (await told(browser))[0] == ["update 10"]
        open_pages.tell_changes()
        open_pages.start_afresh()
        assert (await told(browser))[0] == ["snapshot 11"]


@pytest.mark.parametrize(
    ("missed", "restarts", "received"),
    [
        (MOST_BEHIND + 12, 0, updates(MOST_BEHIND + 12)),
        (past.MOST, 0, updates(past.MOST)),
        (past.MOST + 1, 0, [f"snapshot {past.MOST + 1}"]),
        (1, 1, ["snapshot 1"]),
    ],
    ids=["some", "all that is kept", "more than is kept", "from before a start afresh"],
)
async def test_a_browser_that_comes_back_gets_what_it_missed_or_a_snapshot(
    open_pages: Browsers, missed: int, restarts: int, received: list[str]
) -> None:
    with open_pages.join() as browser:
        _, known = await told(browser)
    for _ in range(restarts):
        open_pages.start_afresh()
    for _ in range(missed):
        open_pages.tell_changes()
    with open_pages.join(known) as browser:
        assert (await told(browser))[0] == received
        open_pages.tell_changes()
        _, known = await told(browser)
    with open_pages.join(known) as browser:
        assert await browser.next() == HEARTBEAT  # it missed nothing


@pytest.mark.parametrize("suffix", ["-0", "-1", "-99", "--1", "", "-1e3", "-" + "9" * 400])
async def test_an_id_of_another_process_or_of_no_update_gets_a_snapshot(open_pages: Browsers, suffix: str) -> None:
    for process in ("0123456789abcdef", open_pages._past._process):
        open_pages.tell_changes()
        open_pages.start_afresh()
        with open_pages.join(f"{process}{suffix}") as browser:
            assert (await told(browser))[0][0].startswith("snapshot")


def test_the_past_is_bounded_in_bytes() -> None:
    kept = past.Past()
    for _ in range(10):
        kept.add(bytes(past.MOST_BYTES // 4))
    assert sum(map(len, kept._updates)) <= past.MOST_BYTES
    assert kept.since(kept.last - 3) is not None
    assert kept.since(kept.last - 4) is None


async def test_silence_is_filled_with_heartbeats_up_to_the_end_of_all(open_pages: Browsers) -> None:
    with open_pages.join() as browser:
        await browser.next()
        assert [await browser.next(), now(), await browser.next(), now()] == [HEARTBEAT, 15, HEARTBEAT, 30]
        next_event = asyncio.create_task(browser.next())
        await asyncio.sleep(0)
        open_pages.end()
        assert await next_event is None
    with open_pages.join() as late:
        assert await late.next() is None
