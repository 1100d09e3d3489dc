"""What is asked for a batch that is traced, and for one that is not."""

from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor

from chassis.settings import Sampler
from chassis.telemetry.sampling import Sampling
from chassis.telemetry.traceparent import TraceParent
from chassis.telemetry.tracing import Tracing
from worker_svc import batch_trace
from worker_svc.batch import Batch
from worker_svc.stage import HASHER, RNG

COUNT = 256


def batch() -> Batch:
    return Batch(7, COUNT, 32, 0.0, data=bytes(COUNT * 32))


def traced() -> Batch:
    made = batch()
    tracing = Tracing(Sampling(Sampler.ALWAYS_ON, 1), Resource.get_empty(), SpanProcessor())
    made.trace = batch_trace.begin(tracing, made)
    assert made.trace is not None
    made.trace.wanted(RNG)
    made.trace.wanted(HASHER)
    return made


def test_a_batch_that_is_not_traced_has_not_one_byte_more() -> None:
    random = StreamRandomBytesRequest(batch_id=7, count=COUNT, size=32)
    assert RNG.request(batch()) == random.SerializeToString()
    hashes = StreamHashesRequest(batch_id=7, message_size=32, data=bytes(COUNT * 32))
    assert len(HASHER.request(batch())) == hashes.ByteSize()


def test_one_that_is_names_the_span_of_the_step() -> None:
    asked = traced()
    random = StreamRandomBytesRequest.FromString(RNG.request(asked))
    hashes = StreamHashesRequest.FromString(HASHER.request(asked))
    assert (random.batch_id, random.count, random.size) == (7, COUNT, 32)
    assert (hashes.batch_id, hashes.message_size, hashes.data) == (7, 32, bytes(COUNT * 32))
    first, second = TraceParent.parse(random.traceparent), TraceParent.parse(hashes.traceparent)
    assert first is not None
    assert second is not None
    assert first.trace_id == second.trace_id
    assert first.span_id != second.span_id
    assert first.sampled
