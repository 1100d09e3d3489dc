from chassis.telemetry.rpc_metrics import RpcMetrics
from worker_svc.batch_stream import BatchStream, StreamBroken
from worker_svc.step import RANDOM
from worker_svc.stream_pool import StreamPool

STREAMS = 64
"""The worker's default."""

GENERATION = 1.8
"""Seconds, the worker's default."""


class CountedPool(StreamPool):
    """The worker's own pool of streams to rng, with its own options, which also counts what breaks."""

    def __init__(self, target: str, *, client_id: str, window: int) -> None:
        super().__init__(
            RANDOM,
            target,
            client_id=client_id,
            streams=STREAMS,
            window=window,
            generation=GENERATION,
            metrics=RpcMetrics("client"),
            on_backends=lambda: None,
        )
        self.broken_streams = 0
        self.failed_messages: set[int] = set()

    def ended(self, stream: BatchStream, broken: StreamBroken | None) -> None:
        """Count, and do as the worker does."""
        if broken is not None:
            self.broken_streams += 1
            self.failed_messages.update(stream.owed.keys() & self._unanswered.keys())
        super().ended(stream, broken)
