import asyncio
import threading
from contextlib import closing
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasher_svc import digests as module
from hasher_svc.digests import INLINE_BYTES, INLINE_COUNT, SLICE_COUNT, DigestThread, digests

LARGEST = 2 * 1024 * 1024


def expected(messages: list[bytes]) -> bytes:
    return b"".join(sha256(message).digest() for message in messages)


def messages_of(count: int, size: int) -> list[bytes]:
    """As many different messages."""
    return [number.to_bytes(8, "big").rjust(size, b"\x5a")[-size:] for number in range(count)]


@given(st.integers(1, 200).flatmap(lambda size: st.lists(st.binary(min_size=size, max_size=size), min_size=1)))
def test_packed_digests_are_those_of_hashlib(messages: list[bytes]) -> None:
    assert digests(b"".join(messages), len(messages[0])) == expected(messages)


@pytest.mark.parametrize("size", [1, 2, 31, 32, 33])
@pytest.mark.parametrize(
    "count", [1, SLICE_COUNT - 1, SLICE_COUNT, SLICE_COUNT + 1, 2 * SLICE_COUNT, 3 * SLICE_COUNT + 7]
)
def test_no_digest_is_lost_between_slices(count: int, size: int) -> None:
    messages = messages_of(count, size)
    assert digests(b"".join(messages), size) == expected(messages)


@pytest.mark.parametrize(
    ("count", "size"),
    [(1, 128 * 1024), (1, 128 * 1024 + 1), (3, 128 * 1024 + 1), (1, LARGEST), (65_536, 32), (65_536, 1)],
)
async def test_a_batch_of_any_shape_is_hashed_right_in_the_thread_and_out_of_it(count: int, size: int) -> None:
    messages = messages_of(count, size)
    with closing(DigestThread()) as thread:
        assert await thread.digests(b"".join(messages), size) == expected(messages)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which threads hashed."""
    used: list[int] = []

    def noted(*arguments: Any) -> bytes:
        used.append(threading.get_ident())
        return digests(*arguments)

    monkeypatch.setattr(module, "digests", noted)
    return used


@pytest.mark.parametrize(("count", "size"), [(1, 1), (INLINE_COUNT, 32), (1, INLINE_BYTES), (4, INLINE_BYTES // 4)])
async def test_a_small_batch_is_hashed_where_it_is(threads: list[int], count: int, size: int) -> None:
    with closing(DigestThread()) as thread:
        await thread.digests(bytes(count * size), size)
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize(("count", "size"), [(INLINE_COUNT + 1, 1), (1, INLINE_BYTES + 1), (5, INLINE_BYTES // 4)])
async def test_a_large_batch_is_hashed_off_the_event_loop(threads: list[int], count: int, size: int) -> None:
    with closing(DigestThread()) as thread:
        await thread.digests(bytes(count * size), size)
    assert threads
    assert threading.get_ident() not in threads


async def test_large_batches_share_one_thread(threads: list[int]) -> None:
    with closing(DigestThread()) as thread:
        await asyncio.gather(*(thread.digests(bytes(1024), 1) for _ in range(8)))
    assert len(threads) == 8
    assert len(set(threads)) == 1


async def test_closing_waits_for_no_more_than_what_has_begun(threads: list[int]) -> None:
    thread = DigestThread()
    batches = [asyncio.ensure_future(thread.digests(bytes(LARGEST), 32)) for _ in range(50)]
    await asyncio.sleep(0.01)
    thread.close()
    await asyncio.wait(batches)
    assert 1 <= len(threads) < 10
    assert sum(batch.cancelled() for batch in batches) == 50 - len(threads)
