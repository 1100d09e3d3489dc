"""The two steps of a batch: what is asked of which service, and what a right answer is."""

from collections.abc import Callable
from dataclasses import dataclass

from dockercoins.hasher.v1 import hasher_service_pb2
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest, StreamHashesResponse
from dockercoins.rng.v1 import rng_service_pb2
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest, StreamRandomBytesResponse

from chassis.limits import DIGEST_SIZE
from chassis.packed_field import PackedField
from worker_svc.batch import Batch


@dataclass(frozen=True)
class Step:
    """One step of a batch, on the streams of one service."""

    name: str
    service: str
    """The full name, under which its servers register their health."""
    method: str
    """The name of the streaming method."""
    request: Callable[[Batch], bytes]
    """The encoded request."""
    answer: Callable[[bytes], tuple[int, memoryview]]
    """The id of the batch that an encoded response is to, and what it carries. Raises DecodeError."""
    answer_size: Callable[[Batch], int]
    """Bytes that the right answer has."""
    keep: Callable[[Batch, bytes | memoryview], None]
    """Put the answer into the batch."""

    @property
    def path(self) -> str:
        """What gRPC calls the method."""
        return f"/{self.service}/{self.method}"


_RANDOM_BYTES = PackedField(StreamRandomBytesResponse, "data")
_MESSAGES = PackedField(StreamHashesRequest, "data")
_DIGESTS = PackedField(StreamHashesResponse, "digests")


def _random_request(batch: Batch) -> bytes:
    request = StreamRandomBytesRequest(batch_id=batch.id, count=batch.count, size=batch.message_size)
    if batch.trace is not None:
        request.traceparent = batch.trace.traceparent("rng")
    return request.SerializeToString()


def _random_answer(encoded: bytes) -> tuple[int, memoryview]:
    response, data, start = _RANDOM_BYTES.decode(encoded)
    return response.batch_id, memoryview(data)[start:]


def _keep_random(batch: Batch, data: bytes | memoryview) -> None:
    batch.data = data


def _hash_request(batch: Batch) -> bytes:
    request = StreamHashesRequest(batch_id=batch.id, message_size=batch.message_size)
    if batch.trace is not None:
        request.traceparent = batch.trace.traceparent("hasher")
    return _MESSAGES.encode(request, batch.data)


def _hash_answer(encoded: bytes) -> tuple[int, memoryview]:
    response, data, start = _DIGESTS.decode(encoded)
    return response.batch_id, memoryview(data)[start:]


def _keep_digests(batch: Batch, digests: bytes | memoryview) -> None:
    batch.digests = digests


RANDOM = Step(
    name="rng",
    service=rng_service_pb2.DESCRIPTOR.services_by_name["RngService"].full_name,
    method="StreamRandomBytes",
    request=_random_request,
    answer=_random_answer,
    answer_size=lambda batch: batch.count * batch.message_size,
    keep=_keep_random,
)

HASH = Step(
    name="hasher",
    service=hasher_service_pb2.DESCRIPTOR.services_by_name["HasherService"].full_name,
    method="StreamHashes",
    request=_hash_request,
    answer=_hash_answer,
    answer_size=lambda batch: batch.count * DIGEST_SIZE,
    keep=_keep_digests,
)
