from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from chassis.stored import MAX_LATEST_COINS
from worker_svc.coins import CoinFinder
from worker_svc.latest_coins import LatestCoins


@given(st.lists(st.integers(1, 60), max_size=20), st.sampled_from([1, 4, 9]))
def test_they_are_the_last_of_all_that_were_found(sizes: list[int], bits: int) -> None:
    finder = CoinFinder(bits)
    latest = LatestCoins(finder)
    found = []
    for now, size in enumerate(sizes):
        digests = b"".join(sha256(bytes([now, number])).digest() for number in range(size))
        coins = [digests[32 * position :][:32].hex() for position in finder.positions(digests)]
        if coins:
            latest.found(memoryview(digests), len(coins), float(now))
        found += [(coin, float(now)) for coin in coins]
    assert latest.take() == found[-MAX_LATEST_COINS:]
    assert latest.take() == []


def test_no_more_digests_are_kept_than_hold_them() -> None:
    latest = LatestCoins(CoinFinder(4))
    for now in range(1_000):
        latest.found(bytes(32 * 100), 100, float(now))
    assert len(latest._batches) == 1
    assert latest.take() == [("0" * 64, 999.0)] * MAX_LATEST_COINS
