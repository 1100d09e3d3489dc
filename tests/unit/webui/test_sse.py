import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from aiohttp import web
from support.virtual_time import now

from webui_svc import sse
from webui_svc.sse import HEARTBEAT, MAX_BEHIND, Browsers


class State:
    """Counts its updates."""

    def __init__(self) -> None:
        self.updates = 0

    def snapshot(self) -> bytes:
        return b"snapshot %d\n" % self.updates

    def update(self) -> bytes:
        self.updates += 1
        return b"update %d\n" % self.updates


@pytest.fixture
def open_pages() -> Browsers:
    state = State()
    return Browsers(state.snapshot, state.update)


def updates(count: int) -> list[str]:
    return [f"update {number}" for number in range(1, count + 1)]


async def received_by(browser: AsyncGenerator[bytes]) -> tuple[list[str], str]:
    """The next events, and the id of the last one."""
    event = await anext(browser)
    lines = event.decode().splitlines()
    return [line for line in lines if not line.startswith("id: ")], re.findall(r"id: (.*)", event.decode())[-1]


async def test_one_that_falls_behind_or_is_reset_gets_a_snapshot_instead(open_pages: Browsers) -> None:
    async with aclosing(open_pages.events()) as browser:
        await anext(browser)
        for _ in range(MAX_BEHIND + 1):
            open_pages.publish()
        assert (await received_by(browser))[0] == ["snapshot 9"]
        open_pages.publish()
        assert (await received_by(browser))[0] == ["update 10"]
        open_pages.publish()
        open_pages.reset()
        assert (await received_by(browser))[0] == ["snapshot 11"]


@pytest.mark.parametrize(
    ("missed", "restarts", "received"),
    [
        (MAX_BEHIND + 12, 0, updates(MAX_BEHIND + 12)),
        (sse.MAX_REPLAYED, 0, updates(sse.MAX_REPLAYED)),
        (sse.MAX_REPLAYED + 1, 0, [f"snapshot {sse.MAX_REPLAYED + 1}"]),
        (1, 1, ["snapshot 1"]),
    ],
    ids=["some", "all that is kept", "more than is kept", "from before a reset"],
)
async def test_a_browser_that_comes_back_gets_what_it_missed_or_a_snapshot(
    open_pages: Browsers, missed: int, restarts: int, received: list[str]
) -> None:
    async with aclosing(open_pages.events()) as browser:
        _, known = await received_by(browser)
    for _ in range(restarts):
        open_pages.reset()
    for _ in range(missed):
        open_pages.publish()
    async with aclosing(open_pages.events(known)) as browser:
        assert (await received_by(browser))[0] == received
        open_pages.publish()
        _, known = await received_by(browser)
    async with aclosing(open_pages.events(known)) as browser:
        assert await anext(browser) == HEARTBEAT  # it missed nothing


@pytest.mark.parametrize("suffix", ["-0", "-1", "-99", "--1", "", "-1e3", "-" + "9" * 400])
async def test_an_id_of_another_process_or_of_no_update_gets_a_snapshot(open_pages: Browsers, suffix: str) -> None:
    for process in ("0123456789abcdef", open_pages._buffer._process):
        open_pages.publish()
        open_pages.reset()
        async with aclosing(open_pages.events(f"{process}{suffix}")) as browser:
            assert (await received_by(browser))[0][0].startswith("snapshot")


def test_the_replay_buffer_is_bounded_in_bytes() -> None:
    kept = sse.ReplayBuffer()
    for _ in range(10):
        kept.add(bytes(sse.MAX_REPLAYED_BYTES // 4))
    assert sum(map(len, kept._updates)) <= sse.MAX_REPLAYED_BYTES
    assert kept.since(kept.last - 3) is not None
    assert kept.since(kept.last - 4) is None


async def all_of(browser: AsyncGenerator[bytes]) -> list[bytes]:
    return [event async for event in browser]


async def test_silence_is_filled_with_heartbeats_up_to_the_end_of_all(open_pages: Browsers) -> None:
    async with aclosing(open_pages.events()) as browser:
        await anext(browser)
        assert [await anext(browser), now(), await anext(browser), now()] == [HEARTBEAT, 15, HEARTBEAT, 30]
        rest = asyncio.create_task(all_of(browser))
        await asyncio.sleep(0)
        await open_pages.end(web.Application())
        assert await rest == []
    assert await all_of(open_pages.events()) == []
