"""Whether the digests that a hasher returns are right.

Every response is verified before its batch counts: one message of it, at random, is hashed once more, and so is every
coin that the wallet is going to get. A batch therefore never waits for a later check of its replica, and no data is
kept for one. That costs one hash per batch, which is less than 1 % of a batch's CPU whatever its size, as long as a
message is short; a batch of one long message costs the worker as much hashing as the hasher.

A replica that is wrong in all messages is found out at its first response, and nothing of it is counted. One that is
wrong in a part p of its messages is found out after 1/p batches on average, and the wrong digests in those batches
count as hashes, or as coins if they look like coins; none of them can reach the wallet. Random bytes can't be verified.
"""

import random
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import NamedTuple

from chassis.limits import DIGEST_SIZE
from worker_svc.batch import Batch

CoinPositions = Callable[[Batch, bytes | memoryview], Iterable[int]]


class WrongDigest(NamedTuple):
    """A digest that is not its message's."""

    message: int
    """The position of the message in its batch."""
    expected: str
    got: str


class Verification:
    """Hashes some messages of a batch once more."""

    def __init__(self, coins: CoinPositions) -> None:
        """Verify, besides one message at random, those that `coins` picks from a batch and its digests."""
        self._coins = coins

    def wrong_digest(self, batch: Batch, digests: bytes | memoryview) -> WrongDigest | None:
        """Return the first wrong digest that is found, or None, and note in the batch which coins are verified."""
        sampled = int(random.random() * batch.count)  # noqa: S311 - the hasher doesn't choose what is verified
        coins = tuple(self._coins(batch, digests))
        for position in (sampled, *coins):
            message = batch.data[position * batch.message_size : (position + 1) * batch.message_size]
            expected = sha256(message).digest()
            got = digests[position * DIGEST_SIZE : (position + 1) * DIGEST_SIZE]
            if got != expected:
                return WrongDigest(position, expected.hex(), bytes(got).hex())
        batch.verified_coins = coins
        return None
