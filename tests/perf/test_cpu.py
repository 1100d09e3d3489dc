import asyncio
from functools import partial

from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from perf.conftest import Figures

from chassis.grpc_server.limits import ConcurrencyLimiter
from chassis.large_fields import with_large_field
from hasher_svc.hashing import HASHLIB, kernel_hashing
from worker_svc.batch import Batch
from worker_svc.stage import HasherStage
from worker_svc.tally import MAX_WALLET_COINS

BATCH = bytes(16_384 * 32)
BATCHES_PER_SECOND = 330


def test_hashing(figures: Figures) -> None:
    kernel = kernel_hashing()
    figures.check_ratio(
        "a batch of 16,384 by the kernel, beside hashlib",
        partial(kernel.digests, BATCH, 32),
        partial(HASHLIB.digests, BATCH, 32),
        0.25,
    )


def test_large_fields(figures: Figures) -> None:
    def by_hand() -> None:
        for _ in range(100):
            with_large_field(
                StreamHashesRequest(batches=[StreamHashesRequest.Batch(message_size=32)]), "data", [BATCH]
            ).SerializeToString()

    def by_protobuf() -> None:
        for _ in range(100):
            StreamHashesRequest(batches=[StreamHashesRequest.Batch(message_size=32, data=BATCH)]).SerializeToString()

    figures.check_ratio("a message of 512 KiB, beside protobuf", by_hand, by_protobuf, 0.5)


def test_verification(figures: Figures) -> None:
    """What a worker hashes once more in a second: a message of each batch, and the coins of a report for the wallet."""
    batch = Batch(1, 16_384, 32, 0.0, BATCH)
    digests = memoryview(HASHLIB.digests(BATCH, 32))
    without_coins = HasherStage(lambda _batch, _digests: ())
    with_coins = HasherStage(lambda _batch, _digests: range(MAX_WALLET_COINS))

    def second() -> None:
        assert with_coins.wrong_digest(batch, digests) is None
        for _ in range(BATCHES_PER_SECOND):
            assert without_coins.wrong_digest(batch, digests) is None

    # A hundredth of the 340 ns of CPU per hash that all three services take at this batch size.
    most_us = 0.01 * 0.34 * 16_384
    figures.check_cpu("verifying a batch of 16,384, coins included", second, BATCHES_PER_SECOND, most_us)


def test_slots(figures: Figures) -> None:
    async def slots() -> None:
        limiter = ConcurrencyLimiter(1)
        for _ in range(10_000):
            slot = await limiter.acquire("ipv4:10.0.0.3:4711")
            await limiter.complete(slot)
            limiter.release(slot)

    figures.check_cpu("a slot at a service without a delay", lambda: asyncio.run(slots()), 10_000, 5)
