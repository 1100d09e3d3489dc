import asyncio
import random
import threading
from contextlib import closing

import pytest

from hasher_svc.hashing import HASHLIB, DigestThread, Hashing

INLINE_COUNT = 512
INLINE_BYTES = 4096

SMALL = [(1, 1), (INLINE_COUNT, 8), (1, INLINE_BYTES), (4, INLINE_BYTES // 4)]
LARGE = [(INLINE_COUNT + 1, 1), (1, INLINE_BYTES + 1), (5, INLINE_BYTES // 4)]


@pytest.mark.parametrize(("count", "size"), SMALL + LARGE)
async def test_a_small_batch_is_hashed_where_it_is_and_a_large_one_off_the_event_loop(count: int, size: int) -> None:
    threads = []

    def digests(data: bytes, message_size: int, start: int = 0) -> bytes:
        threads.append(threading.get_ident())
        return HASHLIB.digests(data, message_size, start)

    data = random.Random(size).randbytes(3 + count * size)
    with closing(DigestThread(Hashing(digests, INLINE_COUNT, INLINE_BYTES))) as thread:
        assert await thread.digests(data, size, 3) == HASHLIB.digests(data, size, 3)
    assert (threads == [threading.get_ident()]) is ((count, size) in SMALL)


async def test_closing_waits_for_no_more_than_what_has_begun() -> None:
    began, may_go_on = threading.Event(), threading.Event()

    def digests(data: bytes, message_size: int, start: int = 0) -> bytes:
        began.set()
        may_go_on.wait()
        return HASHLIB.digests(data, message_size, start)

    thread = DigestThread(Hashing(digests, 0, 0))
    first, *others = (asyncio.ensure_future(thread.digests(bytes(1024), 1)) for _ in range(50))
    await asyncio.sleep(0)
    began.wait()
    closer = threading.Thread(target=thread.close)
    closer.start()
    await asyncio.wait(others)
    waits = closer.is_alive()
    may_go_on.set()
    closer.join()
    await first
    assert waits
    assert all(batch.cancelled() for batch in others)
