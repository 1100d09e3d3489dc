"""The two stages of a batch: what is sent to which service, and what a valid response is."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from dockercoins.hasher.v1 import hasher_service_pb2
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest, StreamHashesResponse
from dockercoins.rng.v1 import rng_service_pb2
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest, StreamRandomBytesResponse

from chassis.limits import DIGEST_SIZE
from chassis.packed_field import PackedField
from worker_svc.batch import Batch
from worker_svc.verification import WrongDigest

_RANDOM_BYTES = PackedField(StreamRandomBytesResponse, "data")
_MESSAGES = PackedField(StreamHashesRequest, "data")
_DIGESTS = PackedField(StreamHashesResponse, "digests")


class Stage(ABC):
    """One stage of a batch, on the streams of one service."""

    name: ClassVar[str]
    service: ClassVar[str]
    """The full name, under which its servers register their health."""
    method: ClassVar[str]
    """The streaming method."""

    @property
    def path(self) -> str:
        """What gRPC calls the method."""
        return f"/{self.service}/{self.method}"

    @abstractmethod
    def request(self, batch: Batch) -> bytes:
        """Return the encoded request."""

    @abstractmethod
    def response(self, encoded: bytes) -> tuple[int, memoryview]:
        """Return the batch id of an encoded response, and its payload. Raises DecodeError."""

    @abstractmethod
    def payload_size(self, batch: Batch) -> int:
        """Return how many bytes the payload of a valid response has."""

    @abstractmethod
    def keep(self, batch: Batch, payload: bytes | memoryview) -> None:
        """Put the payload into the batch."""

    def wrong_digest(self, batch: Batch, payload: memoryview) -> WrongDigest | None:  # noqa: ARG002 - none to verify
        """Return a wrong digest in the payload, for which its replica is to be ejected."""
        return None


class RngStage(Stage):
    """A batch gets its random bytes, which can't be verified."""

    name = "rng"
    service = rng_service_pb2.DESCRIPTOR.services_by_name["RngService"].full_name
    method = "StreamRandomBytes"

    def request(self, batch: Batch) -> bytes:
        """Return the encoded request, of a few bytes."""
        request = StreamRandomBytesRequest(batch_id=batch.id, count=batch.count, size=batch.message_size)
        if batch.trace is not None:
            request.traceparent = batch.trace.traceparent("rng")
        return request.SerializeToString()

    def response(self, encoded: bytes) -> tuple[int, memoryview]:
        """Return the batch id and the random bytes."""
        response, data, start = _RANDOM_BYTES.decode(encoded)
        return response.batch_id, memoryview(data)[start:]

    def payload_size(self, batch: Batch) -> int:
        """Return the size of all messages."""
        return batch.count * batch.message_size

    def keep(self, batch: Batch, payload: bytes | memoryview) -> None:
        """Put the random bytes into the batch."""
        batch.data = payload


class HasherStage(Stage):
    """A batch gets its digests, of which some are verified."""

    name = "hasher"
    service = hasher_service_pb2.DESCRIPTOR.services_by_name["HasherService"].full_name
    method = "StreamHashes"

    def __init__(self, verify: Callable[[Batch, memoryview], WrongDigest | None] | None = None) -> None:
        """Without `verify` no digest is verified, as in the load test."""
        self._verify = verify

    def request(self, batch: Batch) -> bytes:
        """Return the encoded request, with all messages."""
        request = StreamHashesRequest(batch_id=batch.id, message_size=batch.message_size)
        if batch.trace is not None:
            request.traceparent = batch.trace.traceparent("hasher")
        return _MESSAGES.encode(request, batch.data)

    def response(self, encoded: bytes) -> tuple[int, memoryview]:
        """Return the batch id and the digests."""
        response, data, start = _DIGESTS.decode(encoded)
        return response.batch_id, memoryview(data)[start:]

    def payload_size(self, batch: Batch) -> int:
        """Return the size of all digests."""
        return batch.count * DIGEST_SIZE

    def keep(self, batch: Batch, payload: bytes | memoryview) -> None:
        """Put the digests into the batch."""
        batch.digests = payload

    def wrong_digest(self, batch: Batch, payload: memoryview) -> WrongDigest | None:
        """Verify some of the digests."""
        return None if self._verify is None else self._verify(batch, payload)


RNG = RngStage()
HASHER = HasherStage()
