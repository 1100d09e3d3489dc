"""Which wrong digests are found; tests/integration/worker/test_wrong_digests.py says what becomes of their hasher."""

import random
from hashlib import sha256

import pytest

from worker_svc.batch import Batch
from worker_svc.settings import WorkerSettings
from worker_svc.stage import HasherStage, WrongDigest
from worker_svc.tally import MAX_WALLET_COINS, Tally

MESSAGES = [bytes([number]) for number in range(200)]
DIGESTS = [sha256(message).digest() for message in MESSAGES]


def wrong_digest(tally: Tally, position: int, digest: bytes) -> WrongDigest | None:
    """Verify a batch that has this digest in this place."""
    digests = b"".join([*DIGESTS[:position], digest, *DIGESTS[position + 1 :]])
    batch = Batch(1, len(MESSAGES), 1, 0.0, memoryview(b"".join(MESSAGES)))
    return HasherStage(tally.coins_for_wallet).wrong_digest(batch, memoryview(digests))


@pytest.fixture
def tally() -> Tally:
    return Tally(WorkerSettings(), "w-1", clock_offset=lambda: 0.0)


@pytest.mark.parametrize("sampled", [0, 7, 199])
def test_a_wrong_digest_is_found_where_the_sample_is(
    monkeypatch: pytest.MonkeyPatch, tally: Tally, sampled: int
) -> None:
    monkeypatch.setattr(random, "random", lambda: (sampled + 0.5) / len(MESSAGES))
    for position in (0, 7, 199):
        found = wrong_digest(tally, position, b"\xff" * 32)
        assert found == (WrongDigest(position, DIGESTS[position].hex(), "ff" * 32) if position == sampled else None)


def test_a_false_coin_is_found_wherever_it_is_if_the_wallet_would_take_it(
    monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """To hash the others, too, where there are hundreds of thousands a second, would be too dear."""
    monkeypatch.setattr(random, "random", lambda: 0.0)
    assert wrong_digest(tally, 150, bytes(32)) == WrongDigest(150, DIGESTS[150].hex(), "00" * 32)
    tally.wallet_open = False
    assert wrong_digest(tally, 150, bytes(32)) is None
    tally.wallet_open = True
    full = Batch(2, MAX_WALLET_COINS, 1, 0.0, bytes(MAX_WALLET_COINS), bytes(32 * MAX_WALLET_COINS))
    full.verified_coins = range(MAX_WALLET_COINS)
    tally.count(full, 1.0)
    assert wrong_digest(tally, 150, bytes(32)) is None
