from typing import Any, cast

from chassis.telemetry.rpc_metrics import RpcMetrics
from worker_svc import step
from worker_svc.batch import Batch
from worker_svc.batch_stream import BatchStream
from worker_svc.stream_pool import READMISSION_DELAY_S, StreamPool
from worker_svc.verification import WrongDigest


class OpenStream:
    """A stream that the test answers on."""

    number = 1
    oldest = float("inf")

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.owed: dict[int, Any] = {}

    def ask(self, batch: Batch, now: float) -> None:
        self.owed[batch.id] = batch, now


def stream_to(backend: str) -> BatchStream:
    return cast("BatchStream", OpenStream(backend))


async def test_a_wrong_digest_as_the_last_answer_of_a_draining_server_ejects_it() -> None:
    pool = StreamPool(
        step.HASH,
        "ipv4:127.0.0.1:1",
        client_id="w",
        streams=2,
        window=1,
        generation=1.8,
        metrics=RpcMetrics("client"),
        on_backends=lambda: None,
        wrong_digest=lambda _batch, _answer: WrongDigest(0, "aa", "bb"),
    )
    lying, good = stream_to("lying"), stream_to("good")
    pool.opened(lying)
    batch = Batch(1, 1, 32, 0.0, bytes(32))
    pool.submit(batch)
    pool.retired(lying)
    del lying.owed[batch.id]
    pool.answered(lying, batch, memoryview(bytes(32)))
    assert pool.ejected == ["lying"]
    pool.ended(lying, None)
    pool.opened(good)
    assert batch.id in good.owed
    pool._readmit()
    assert pool.ejected == ["lying"]
    pool._ejected["lying"].last_seen -= READMISSION_DELAY_S + 1
    pool._readmit()
    assert pool.ejected == []
