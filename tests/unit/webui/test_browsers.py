import asyncio

import pytest

from webui_svc import browsers
from webui_svc.browsers import HEARTBEAT, MOST_PENDING, Browsers


class Board:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.updates = 0

    def snapshot(self) -> bytes:
        return b"snapshot %d" % self.updates

    def update(self) -> bytes:
        self.updates += 1
        return b"update %d" % self.updates


@pytest.fixture
def open_pages() -> Browsers:
    board = Board()
    return Browsers(board.snapshot, board.update)


async def test_a_browser_gets_a_snapshot_and_then_the_updates(open_pages: Browsers) -> None:
    with open_pages.join() as browser:
        assert await browser.next() == b"snapshot 0"
        open_pages.tell_changes()
        open_pages.tell_changes()
        assert [await browser.next(), await browser.next()] == [b"update 1", b"update 2"]


async def test_one_that_falls_behind_gets_a_fresh_snapshot_instead(open_pages: Browsers) -> None:
    with open_pages.join() as slow:
        await slow.next()
        for _ in range(MOST_PENDING + 5):
            open_pages.tell_changes()
        assert not slow._pending
        assert await slow.next() == b"snapshot 13"
        open_pages.tell_changes()
        assert await slow.next() == b"update 14"


async def test_a_start_afresh_replaces_what_is_pending(open_pages: Browsers) -> None:
    with open_pages.join() as browser:
        await browser.next()
        open_pages.tell_changes()
        open_pages.start_afresh()
        assert await browser.next() == b"snapshot 1"


async def test_silence_is_filled_with_heartbeats(open_pages: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsers, "HEARTBEAT_EVERY", 0.01)
    with open_pages.join() as browser:
        await browser.next()
        assert await browser.next() == HEARTBEAT


async def test_the_end_reaches_whoever_waits_and_whoever_comes_later(open_pages: Browsers) -> None:
    with open_pages.join() as waiting:
        await waiting.next()
        next_event = asyncio.create_task(waiting.next())
        await asyncio.sleep(0)
        open_pages.end()
        assert await next_event is None
    with open_pages.join() as late:
        assert await late.next() is None


async def test_a_browser_that_left_is_forgotten(open_pages: Browsers) -> None:
    with open_pages.join():
        assert len(open_pages) == 1
    assert len(open_pages) == 0
