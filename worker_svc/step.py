"""The two steps of a batch: what is asked of which service, and what a right answer is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from dockercoins.hasher.v1 import hasher_service_pb2, hasher_service_pb2_grpc
from dockercoins.rng.v1 import rng_service_pb2, rng_service_pb2_grpc

from chassis.limits import DIGEST_SIZE
from worker_svc.batch import Batch


@dataclass(frozen=True)
class Step:
    """One step of a batch, on the streams of one service."""

    name: str
    service: str
    """The full name, under which its servers register their health."""
    method: Callable[[grpc.aio.Channel], Any]
    """The streaming method on a channel."""
    request: Callable[[Batch], Any]
    answer: Callable[[Any], bytes]
    """What a response carries."""
    answer_size: Callable[[Batch], int]
    """Bytes that the right answer has."""
    keep: Callable[[Batch, bytes], None]
    """Put the answer into the batch."""


def _random_request(batch: Batch) -> rng_service_pb2.StreamRandomBytesRequest:
    return rng_service_pb2.StreamRandomBytesRequest(batch_id=batch.id, count=batch.count, size=batch.message_size)


def _keep_random(batch: Batch, data: bytes) -> None:
    batch.data = data


def _hash_request(batch: Batch) -> hasher_service_pb2.StreamHashesRequest:
    return hasher_service_pb2.StreamHashesRequest(batch_id=batch.id, data=batch.data, message_size=batch.message_size)


def _keep_digests(batch: Batch, digests: bytes) -> None:
    batch.digests = digests


RANDOM = Step(
    name="rng",
    service=rng_service_pb2.DESCRIPTOR.services_by_name["RngService"].full_name,
    method=lambda channel: rng_service_pb2_grpc.RngServiceStub(channel).StreamRandomBytes,
    request=_random_request,
    answer=lambda response: response.data,
    answer_size=lambda batch: batch.count * batch.message_size,
    keep=_keep_random,
)

HASH = Step(
    name="hasher",
    service=hasher_service_pb2.DESCRIPTOR.services_by_name["HasherService"].full_name,
    method=lambda channel: hasher_service_pb2_grpc.HasherServiceStub(channel).StreamHashes,
    request=_hash_request,
    answer=lambda response: response.digests,
    answer_size=lambda batch: batch.count * DIGEST_SIZE,
    keep=_keep_digests,
)
