import asyncio
import random
import sys
import threading
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from support.programs import skip_or_fail

from hasher_svc import hashing as module
from hasher_svc.hashing import HASHLIB, SLICE_COUNT, DigestThread, Hashing, KernelError, fastest, kernel_hashing
from hatch_build import KERNEL, compile_kernel

MAX_BYTES = 1024 * 1024
MAX_COUNT = 65_536


@pytest.fixture(scope="module")
def by_kernel() -> Hashing:
    try:
        return kernel_hashing()
    except KernelError as error:
        skip_or_fail(f"no kernel: {error}; install a C compiler, then make -W hatch_build.py protos")


@pytest.fixture(scope="module", params=["kernel", "hashlib"])
def hashing(request: pytest.FixtureRequest) -> Hashing:
    """Each way of hashing."""
    if request.param == "hashlib":
        return HASHLIB
    found: Hashing = request.getfixturevalue("by_kernel")
    return found


@given(st.integers(1, 300) | st.integers(1, MAX_BYTES), st.integers(0, 5_000))
@example(33, SLICE_COUNT)
@example(33, 2 * SLICE_COUNT + 1)
@example(1, MAX_COUNT)
def test_any_number_of_messages_of_any_size_gets_the_right_digests(hashing: Hashing, size: int, count: int) -> None:
    data = random.Random(size).randbytes(size * min(count, MAX_BYTES // size))
    expected = b"".join(sha256(data[i : i + size]).digest() for i in range(0, len(data), size))
    assert hashing.digests(data, size) == expected
    assert hashing.digests(memoryview(b"head" + data)[4:], size) == expected


def test_other_threads_run_while_the_kernel_does(by_kernel: Hashing) -> None:
    """It takes long enough for a thread that wants the interpreter only for a moment to get it many times."""
    data = bytes(64 * 1024 * 1024)
    running = threading.Thread(target=by_kernel.digests, args=(data, 32))
    turns = 0
    running.start()
    while running.is_alive():
        running.join(0.001)
        turns += 1
    assert turns > 5


def test_the_kernel_is_used_where_there_is_one(by_kernel: Hashing) -> None:
    with capture_logs() as lines:
        hashing = fastest()
    assert (hashing.inline_count, hashing.inline_bytes) == (by_kernel.inline_count, by_kernel.inline_bytes)
    assert lines == [{"event": "hashing", "by": "kernel", "log_level": "info"}]


def assert_no_kernel(reason: str) -> None:
    """Hashing falls back to hashlib, and the log says why."""
    with capture_logs() as lines:
        assert fastest() is HASHLIB
    [line] = lines
    assert line["by"] == "hashlib"
    assert reason in line["cause"]


@pytest.mark.parametrize(("content", "reason"), [(None, "it was not built"), ("no library", "libkernel.so")])
def test_there_is_no_kernel_without_its_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, reason: str
) -> None:
    library = tmp_path / "libkernel.so"
    if content is not None:
        library.write_text(content)
    monkeypatch.setattr(module, "KERNEL_LIBRARY", library)
    assert_no_kernel(reason)


STATIC = ModuleType("_hashlib")
OTHER_OPENSSL = ModuleType("_hashlib")
OTHER_OPENSSL.__file__ = str(module.KERNEL_LIBRARY)


@pytest.mark.usefixtures("by_kernel")
@pytest.mark.parametrize(
    ("module", "reason"), [(None, "_hashlib"), (STATIC, "__file__"), (OTHER_OPENSSL, "SHA256_Update")]
)
def test_there_is_no_kernel_without_an_openssl_that_it_can_use(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType | None, reason: str
) -> None:
    monkeypatch.setitem(sys.modules, "_hashlib", module)
    assert_no_kernel(reason)


@pytest.mark.usefixtures("by_kernel")
@pytest.mark.parametrize(
    ("right", "wrong", "size"),
    [("0x80", "0x81", 1), ("(uint64_t)size * 8", "(uint8_t)(size * 8)", 32), ("if (whole)", "if (0)", 64)],
)
def test_a_kernel_that_hashes_wrongly_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, right: str, wrong: str, size: int
) -> None:
    source, library = tmp_path / "kernel.c", tmp_path / "libkernel.so"
    text = KERNEL.read_text()
    assert right in text
    source.write_text(text.replace(right, wrong))
    assert compile_kernel(source, library)
    monkeypatch.setattr(module, "KERNEL_LIBRARY", library)
    assert_no_kernel(f"it hashes messages of {size} bytes wrongly")


INLINE_COUNT = 512
INLINE_BYTES = 4096

SMALL = [(1, 1), (INLINE_COUNT, 8), (1, INLINE_BYTES), (4, INLINE_BYTES // 4)]
LARGE = [(INLINE_COUNT + 1, 1), (1, INLINE_BYTES + 1), (5, INLINE_BYTES // 4)]


@pytest.mark.parametrize(("count", "size"), SMALL + LARGE)
async def test_a_small_batch_is_hashed_where_it_is_and_a_large_one_off_the_event_loop(count: int, size: int) -> None:
    threads = []

    def digests(data: bytes | memoryview, message_size: int) -> bytes:
        threads.append(threading.get_ident())
        return HASHLIB.digests(data, message_size)

    data = random.Random(size).randbytes(count * size)
    with closing(DigestThread(Hashing(digests, INLINE_COUNT, INLINE_BYTES))) as thread:
        assert await thread.digests(data, size) == HASHLIB.digests(data, size)
    assert (threads == [threading.get_ident()]) is ((count, size) in SMALL)


async def test_closing_waits_for_no_more_than_what_has_begun() -> None:
    began, may_go_on = threading.Event(), threading.Event()

    def digests(data: bytes | memoryview, message_size: int) -> bytes:
        began.set()
        may_go_on.wait()
        return HASHLIB.digests(data, message_size)

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
