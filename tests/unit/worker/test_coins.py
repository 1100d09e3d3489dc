from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from chassis.stored import MAX_LATEST_COINS
from worker_svc.coins import CoinFinder
from worker_svc.latest_coins import LatestCoins


def leading_zero_bits(digest: bytes) -> int:
    return 256 - int.from_bytes(digest).bit_length()


digests = st.lists(
    st.one_of(
        st.binary(min_size=32, max_size=32),
        st.integers(0, 30).map(lambda zeros: bytes(zeros) + b"\xff" * (32 - zeros)),
        st.integers(0, 2**256 - 1).map(lambda number: (number >> 250).to_bytes(32)),
    ),
    max_size=50,
)


@given(digests, st.integers(1, 256))
def test_every_coin_is_found_and_nothing_else(packed: list[bytes], bits: int) -> None:
    """A coin is a digest with at least so many leading zero bits."""
    expected = [i for i, digest in enumerate(packed) if leading_zero_bits(digest) >= bits]
    finder = CoinFinder(bits)
    assert list(finder.positions(b"".join(packed))) == expected
    assert finder.count(b"".join(packed)) == len(expected)
    assert finder.last_positions(b"".join(packed), 3) == expected[-3:]


@given(st.lists(st.integers(1, 60), max_size=20), st.sampled_from([1, 4, 9]))
def test_the_latest_are_the_last_of_all_that_were_found(sizes: list[int], bits: int) -> None:
    finder = CoinFinder(bits)
    latest = LatestCoins(finder)
    found = []
    for now, size in enumerate(sizes):
        packed = b"".join(sha256(bytes([now, number])).digest() for number in range(size))
        coins = [packed[32 * position :][:32].hex() for position in finder.positions(packed)]
        if coins:
            latest.found(memoryview(packed), len(coins), float(now))
        found += [(coin, float(now)) for coin in coins]
    assert latest.take() == found[-MAX_LATEST_COINS:]
    assert latest.take() == []
