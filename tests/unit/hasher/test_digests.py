import asyncio
import threading
from contextlib import closing
from hashlib import sha256

import pytest

from hasher_svc.digests import DigestThread
from hasher_svc.hashing import FALLBACK, Hashing

LARGEST = 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("count", "size"),
    [(1, 128 * 1024), (1, 256 * 1024 + 1), (3, 128 * 1024 + 1), (1, LARGEST), (65_536, 32), (65_536, 1)],
)
async def test_a_batch_of_any_shape_is_hashed_right_in_the_thread_and_out_of_it(
    hashing: Hashing, count: int, size: int
) -> None:
    messages = [number.to_bytes(8, "big").rjust(size, b"\x5a")[-size:] for number in range(count)]
    with closing(DigestThread(hashing)) as thread:
        digests = await thread.digests(b"".join(messages), size)
    assert digests == b"".join(sha256(message).digest() for message in messages)


INLINE_COUNT = 512
INLINE_BYTES = 4096


class Noted:
    """Hashing that notes which threads hash."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.began = threading.Semaphore(0)
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.hashing = Hashing(self._digests, INLINE_COUNT, INLINE_BYTES)

    def _digests(self, data: bytes, message_size: int, start: int = 0) -> bytes:
        self.threads.append(threading.get_ident())
        self.began.release()
        self.may_go_on.wait()
        return FALLBACK.digests(data, message_size, start)


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.mark.parametrize(("count", "size"), [(1, 1), (INLINE_COUNT, 8), (1, INLINE_BYTES), (4, INLINE_BYTES // 4)])
async def test_a_small_batch_is_hashed_where_it_is(noted: Noted, count: int, size: int) -> None:
    with closing(DigestThread(noted.hashing)) as thread:
        await thread.digests(bytes(count * size), size)
    assert noted.threads == [threading.get_ident()]


@pytest.mark.parametrize(("count", "size"), [(INLINE_COUNT + 1, 1), (1, INLINE_BYTES + 1), (5, INLINE_BYTES // 4)])
async def test_a_large_batch_is_hashed_off_the_event_loop(noted: Noted, count: int, size: int) -> None:
    with closing(DigestThread(noted.hashing)) as thread:
        await thread.digests(bytes(count * size), size)
    assert noted.threads
    assert threading.get_ident() not in noted.threads


async def test_large_batches_share_one_thread(noted: Noted) -> None:
    with closing(DigestThread(noted.hashing)) as thread:
        await asyncio.gather(*(thread.digests(bytes(1024), 1) for _ in range(8)))
    assert len(noted.threads) == 8
    assert len(set(noted.threads)) == 1


async def test_closing_waits_for_no_more_than_what_has_begun(noted: Noted) -> None:
    noted.may_go_on.clear()
    thread = DigestThread(noted.hashing)
    first, *others = (asyncio.ensure_future(thread.digests(bytes(1024), 1)) for _ in range(50))
    await asyncio.sleep(0)
    noted.began.acquire()
    closing_thread = threading.Thread(target=thread.close)
    closing_thread.start()
    await asyncio.wait(others)
    assert not first.done()
    noted.may_go_on.set()
    closing_thread.join()
    await first
    assert all(batch.cancelled() for batch in others)
    assert len(noted.threads) == 1
