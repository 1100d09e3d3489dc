from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest

from worker_svc.batch import Batch
from worker_svc.stage import HASHER, RNG

DATA = bytes(256 * 32)


def test_a_batch_that_is_not_traced_has_not_one_byte_more() -> None:
    batch = Batch(7, 256, 32, 0.0, DATA)
    random = StreamRandomBytesRequest(batch_id=7, count=256, size=32)
    assert RNG.request(batch) == random.SerializeToString()
    hashes = StreamHashesRequest(batch_id=7, message_size=32, data=DATA)
    assert len(HASHER.request(batch)) == hashes.ByteSize()
