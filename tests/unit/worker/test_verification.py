"""Which wrong digests are found, and what the wallet may get."""

import random
from hashlib import sha256

import pytest

from worker_svc.batch import Batch
from worker_svc.coins import CoinFinder
from worker_svc.tally import MAX_WALLET_COINS, Tally
from worker_svc.verification import Verification, WrongDigest

SIZE = 4
MESSAGES = [number.to_bytes(SIZE) for number in range(200)]
DIGESTS = [sha256(message).digest() for message in MESSAGES]


def batch() -> Batch:
    return Batch(1, len(MESSAGES), SIZE, 0.0, memoryview(b"".join(MESSAGES)))


def answer(*wrong: int, digest: bytes = b"\xff" * 32) -> memoryview:
    return memoryview(b"".join(digest if each in wrong else right for each, right in enumerate(DIGESTS)))


@pytest.fixture
def tally() -> Tally:
    tally = Tally(CoinFinder(4), clock_offset=lambda: 0.0)
    tally.begin(0.0)
    return tally


def sample(monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    """Have this message be the one that is taken at random."""
    monkeypatch.setattr(random, "random", lambda: (position + 0.5) / len(MESSAGES))


def test_right_digests_are_right_and_their_coins_go_to_the_wallet(tally: Tally) -> None:
    mined = batch()
    assert Verification(tally.coins_for_wallet).wrong_digest(mined, answer()) is None
    mined.digests = answer()
    tally.count(mined, 1.0)
    report = tally.report(1.0, None, 64, {})
    assert report.coins == len(report.wallet) == sum(digest[0] < 16 for digest in DIGESTS)


def test_a_wrong_digest_is_found_where_the_sample_is(monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    checked = Verification(tally.coins_for_wallet)
    for position in (0, 7, 199):
        sample(monkeypatch, position)
        wrong = checked.wrong_digest(batch(), answer(position))
        assert wrong == WrongDigest(position, DIGESTS[position].hex(), "ff" * 32)
    assert checked.wrong_digest(batch(), answer(7)) is None


def test_every_message_is_sampled_sooner_or_later(tally: Tally) -> None:
    """One of 200 is missed by 5,000 samples once in seventy billion times."""
    checked = Verification(tally.coins_for_wallet)
    for position in (0, 199):
        assert any(checked.wrong_digest(batch(), answer(position)) for _ in range(5_000))


def test_a_false_coin_is_found_wherever_it_is_if_the_wallet_would_take_it(
    monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """To hash the others, too, where there are hundreds of thousands a second, would be too dear."""
    sample(monkeypatch, 0)
    checked, mined = Verification(tally.coins_for_wallet), batch()
    wrong = checked.wrong_digest(mined, answer(150, digest=bytes(32)))
    assert wrong == WrongDigest(150, DIGESTS[150].hex(), "00" * 32)
    assert mined.verified_coins == ()
    tally.wallet_open = False
    assert checked.wrong_digest(batch(), answer(150, digest=bytes(32))) is None
    tally.wallet_open = True
    full = Batch(2, MAX_WALLET_COINS, 1, 0.0, bytes(MAX_WALLET_COINS), bytes(32 * MAX_WALLET_COINS))
    full.verified_coins = range(MAX_WALLET_COINS)
    tally.count(full, 1.0)
    assert checked.wrong_digest(batch(), answer(150, digest=bytes(32))) is None
