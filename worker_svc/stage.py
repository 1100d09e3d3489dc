"""The two stages of a batch: what is sent to which service, and what a valid response is."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import ClassVar, NamedTuple

from dockercoins.hasher.v1 import hasher_service_pb2
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest, StreamHashesResponse
from dockercoins.rng.v1 import rng_service_pb2
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest, StreamRandomBytesResponse

from chassis.batch_limits import DIGEST_SIZE
from chassis.large_fields import parse, with_large_field
from worker_svc.batch import Batch

CoinPositions = Callable[[Batch, bytes | memoryview], Iterable[int]]


class WrongDigest(NamedTuple):
    """A digest that is not its message's, and the position of that message in the batch."""

    message: int
    expected: str
    got: str


class Stage(ABC):
    """One stage of a batch, on the streams of one service."""

    name: ClassVar[str]
    # The full name, under which the servers register their health.
    service: ClassVar[str]
    # The streaming method.
    method: ClassVar[str]

    @property
    def path(self) -> str:
        """Return the method's name on the wire."""
        return f"/{self.service}/{self.method}"

    @abstractmethod
    def request(self, batches: Sequence[Batch]) -> bytes:
        """Return the encoded request for some batches."""

    @abstractmethod
    def response(self, encoded: bytes) -> list[tuple[int, memoryview]]:
        """Return the batch ids of an encoded response, and their payloads. Raises DecodeError."""

    @abstractmethod
    def payload_size(self, batch: Batch) -> int:
        """Return how many bytes the payload of a valid response has."""

    def wrong_digest(self, batch: Batch, payload: memoryview) -> WrongDigest | None:  # noqa: ARG002 - none to verify
        """Return a wrong digest in the payload, for which its replica is to be ejected."""
        return None


class RngStage(Stage):
    """A batch gets its random bytes, which can't be verified."""

    name = "rng"
    service = rng_service_pb2.DESCRIPTOR.services_by_name["RngService"].full_name
    method = "StreamRandomBytes"

    def request(self, batches: Sequence[Batch]) -> bytes:
        """Return the encoded request, of a few bytes per batch."""
        request = StreamRandomBytesRequest()
        for batch in batches:
            added = request.batches.add(batch_id=batch.id, count=batch.count, size=batch.message_size)
            if batch.trace is not None:
                added.traceparent = batch.trace.traceparent(self.name)
        return request.SerializeToString()

    def response(self, encoded: bytes) -> list[tuple[int, memoryview]]:
        """Return the batch ids and the random bytes."""
        response = parse(StreamRandomBytesResponse.FromString, encoded)
        return [(batch.batch_id, memoryview(batch.data)) for batch in response.batches]

    def payload_size(self, batch: Batch) -> int:
        """Return the size of all messages."""
        return batch.count * batch.message_size


class HasherStage(Stage):
    """A batch gets its digests, of which some are verified before the batch counts.

    One message at random is hashed once more, and so is every coin that the wallet is going to get. That is one hash
    per batch, less than 1 % of its CPU whatever its size, as long as a message is short; a batch of one long message
    costs the worker as much hashing as the hasher.

    A replica that is wrong in all messages is found at its first response, and nothing of it is counted. One that is
    wrong in a part p of its messages is found after 1/p batches on average. The wrong digests in those batches count
    as hashes, or as coins if they look like coins, but none of them reaches the wallet.
    """

    name = "hasher"
    service = hasher_service_pb2.DESCRIPTOR.services_by_name["HasherService"].full_name
    method = "StreamHashes"

    def __init__(self, coins: CoinPositions | None = None) -> None:
        """Verify the digests that `coins` selects and one more per batch; or none without it, as in the load test."""
        self._coins = coins

    def request(self, batches: Sequence[Batch]) -> bytes:
        """Return the encoded request, with all messages."""
        request = StreamHashesRequest()
        for batch in batches:
            added = request.batches.add(batch_id=batch.id, message_size=batch.message_size)
            if batch.trace is not None:
                added.traceparent = batch.trace.traceparent(self.name)
        return with_large_field(request, "data", [batch.data for batch in batches]).SerializeToString()

    def response(self, encoded: bytes) -> list[tuple[int, memoryview]]:
        """Return the batch ids and the digests."""
        response = parse(StreamHashesResponse.FromString, encoded)
        return [(batch.batch_id, memoryview(batch.digests)) for batch in response.batches]

    def payload_size(self, batch: Batch) -> int:
        """Return the size of all digests."""
        return batch.count * DIGEST_SIZE

    def wrong_digest(self, batch: Batch, payload: memoryview) -> WrongDigest | None:
        """Return the first wrong digest that is found; if there is none, note in the batch which coins are verified."""
        if self._coins is None:
            return None
        sampled = int(random.random() * batch.count)  # noqa: S311 - the hasher doesn't choose what is verified
        coins = tuple(self._coins(batch, payload))
        for position in (sampled, *coins):
            message = batch.data[position * batch.message_size : (position + 1) * batch.message_size]
            expected = sha256(message).digest()
            got = payload[position * DIGEST_SIZE : (position + 1) * DIGEST_SIZE]
            if got != expected:
                return WrongDigest(position, expected.hex(), bytes(got).hex())
        batch.verified_coins = coins
        return None


RNG = RngStage()
HASHER = HasherStage()
