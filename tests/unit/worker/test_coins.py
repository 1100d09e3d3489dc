from hypothesis import given
from hypothesis import strategies as st

from worker_svc.coins import CoinFinder


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
