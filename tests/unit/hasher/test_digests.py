import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from hasher_svc.digests import DigestThread
from hasher_svc.hashing import FALLBACK, Hashing

INLINE_COUNT = 512
INLINE_BYTES = 4096


class Noted:
    """Hashing that notes which threads hash, and waits where it is to."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.began = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.hashing = Hashing(self._digests, INLINE_COUNT, INLINE_BYTES)

    def _digests(self, data: bytes, message_size: int, start: int = 0) -> bytes:
        self.threads.append(threading.get_ident())
        self.began.set()
        self.may_go_on.wait()
        return FALLBACK.digests(data, message_size, start)


@pytest.fixture
def noted() -> Iterator[Noted]:
    hashing = Noted()
    yield hashing
    hashing.may_go_on.set()


SMALL = [(1, 1), (INLINE_COUNT, 8), (1, INLINE_BYTES), (4, INLINE_BYTES // 4)]
LARGE = [(INLINE_COUNT + 1, 1), (1, INLINE_BYTES + 1), (5, INLINE_BYTES // 4)]


@pytest.mark.parametrize(("count", "size"), SMALL + LARGE)
async def test_a_small_batch_is_hashed_where_it_is_and_a_large_one_off_the_event_loop(
    noted: Noted, count: int, size: int
) -> None:
    data = random.Random(size).randbytes(3 + count * size)
    with closing(DigestThread(noted.hashing)) as thread:
        assert await thread.digests(data, size, 3) == FALLBACK.digests(data, size, 3)
    assert (noted.threads == [threading.get_ident()]) is ((count, size) in SMALL)


async def test_closing_waits_for_no_more_than_what_has_begun(noted: Noted) -> None:
    noted.may_go_on.clear()
    thread = DigestThread(noted.hashing)
    first, *others = (asyncio.ensure_future(thread.digests(bytes(1024), 1)) for _ in range(50))
    await asyncio.sleep(0)
    noted.began.wait()
    closer = threading.Thread(target=thread.close)
    closer.start()
    await asyncio.wait(others)
    assert closer.is_alive()
    noted.may_go_on.set()
    closer.join()
    await first
    assert all(batch.cancelled() for batch in others)
    assert len(noted.threads) == 1
