"""Both ways of hashing give what hashlib gives for each message."""

import random
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from hasher_svc import kernel
from hasher_svc.fallback import SLICE_COUNT
from hasher_svc.hashing import FALLBACK, Hashing, fastest

MAX_BYTES = 1024 * 1024
MAX_COUNT = 65_536

sizes = st.integers(1, 300) | st.integers(1, MAX_BYTES)


def expected(data: bytes, size: int) -> bytes:
    return b"".join(sha256(data[i : i + size]).digest() for i in range(0, len(data), size))


def random_bytes(length: int) -> bytes:
    return random.Random(length).randbytes(length)


@given(sizes, st.integers(0, MAX_COUNT))
def test_any_number_of_messages_of_any_size_gets_the_right_digests(hashing: Hashing, size: int, count: int) -> None:
    data = random_bytes(size * min(count, MAX_BYTES // size, 5_000))
    assert hashing.digests(data, size) == hashing.digests(b"before" + data, size, 6) == expected(data, size)


def test_every_way_to_pad_a_message_is_right(hashing: Hashing) -> None:
    for size in range(1, 5 * 64):
        data = random_bytes(3 * size)
        assert hashing.digests(data, size) == expected(data, size), size


@pytest.mark.parametrize("size", [1, 33])
@pytest.mark.parametrize(
    "count", [1, SLICE_COUNT - 1, SLICE_COUNT, SLICE_COUNT + 1, 2 * SLICE_COUNT, 3 * SLICE_COUNT + 7, MAX_COUNT]
)
def test_no_digest_is_lost_in_a_large_batch(hashing: Hashing, count: int, size: int) -> None:
    data = random_bytes(count * size)
    assert hashing.digests(data, size) == expected(data, size)


def chosen() -> tuple[Hashing, Sequence[object]]:
    """What is used, and what is said about it."""
    with capture_logs() as lines:
        return fastest(), lines


def test_the_kernel_is_used_where_there_is_one(by_kernel: Hashing) -> None:
    hashing, lines = chosen()
    assert (hashing.inline_count, hashing.inline_bytes) == (by_kernel.inline_count, by_kernel.inline_bytes)
    assert lines == [{"event": "hashing", "by": "kernel", "log_level": "info"}]


def test_hashlib_is_used_where_no_kernel_was_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kernel, "LIBRARY", tmp_path / "libkernel.so")
    hashing, lines = chosen()
    assert hashing is FALLBACK
    assert lines == [{"event": "hashing", "by": "hashlib", "cause": "no kernel: it was not built", "log_level": "info"}]
