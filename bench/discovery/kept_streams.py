"""What people do instead of our pool: a number of streams on one channel that is kept."""

import asyncio
from collections import deque
from collections.abc import Callable

import grpc

from chassis.grpc_client.stream_watch import StreamWatch
from chassis.grpc_options import Options
from chassis.metadata import CLIENT_ID
from chassis.telemetry.rpc_metrics import RpcMetrics
from worker_svc.batch import Batch
from worker_svc.batch_stream import BatchStream, StreamBroken
from worker_svc.step import RANDOM

STREAMS = 8
"""More than there are backends, so that round robin gives each of them some."""

RETRY_PAUSE = 0.01
"""Seconds from a stream's break to the next attempt, as our pool has it at first."""


class KeptStreams:
    """Asks whichever stream owes least. What a broken one owed is asked again."""

    def __init__(self, target: str, options: Options, *, client_id: str, reopen_every: float | None) -> None:
        """Streams are reopened on the same channel every so many seconds, or only when they break."""
        self._channel = grpc.aio.insecure_channel(target, options=options)
        self._metadata = ((CLIENT_ID, client_id),)
        self._watch = StreamWatch(RANDOM.path, RpcMetrics("client"))
        self._reopen_every = reopen_every
        self.on_answer: Callable[[Batch], None]
        self.broken_streams = 0
        self.failed_messages: set[int] = set()
        self._open: list[BatchStream] = []
        self._waiting: deque[Batch] = deque()
        self._serving: set[asyncio.Task[None]] = set()

    def submit(self, batch: Batch) -> None:
        """Have a batch answered, however many attempts it takes."""
        self._waiting.append(batch)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._waiting and self._open:
            stream = min(self._open, key=_owed)
            self._open.remove(stream)
            self._open.append(stream)
            stream.ask(self._waiting.popleft(), asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Keep streams open until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(STREAMS):
                tasks.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            stream = BatchStream(self._watch.open(self._channel, self._metadata), RANDOM, "")
            serving = asyncio.create_task(self._serve(stream))
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
            done, _ = await asyncio.wait((serving,), timeout=self._reopen_every)
            if done:
                await asyncio.sleep(RETRY_PAUSE)
            else:
                self._withdraw(stream)
                stream.half_close()

    async def _serve(self, stream: BatchStream) -> None:
        try:
            await stream.run(self._opened, self._answered)
        except StreamBroken:
            self.broken_streams += 1
            self.failed_messages.update(stream.owed)
        finally:
            self._withdraw(stream)
            self._waiting.extendleft(batch for batch, _ in reversed(stream.owed.values()))
            self._dispatch()

    def _opened(self, stream: BatchStream) -> None:
        self._open.append(stream)
        self._dispatch()

    def _answered(self, _: BatchStream, batch: Batch, answer: memoryview) -> None:
        RANDOM.keep(batch, answer)
        self.on_answer(batch)

    def _withdraw(self, stream: BatchStream) -> None:
        if stream in self._open:
            self._open.remove(stream)

    async def close(self, limit: float) -> None:
        """Cancel what has not ended after so many seconds. End run() first."""
        for stream in self._open:
            stream.half_close()
        self._open.clear()
        if self._serving:
            _, late = await asyncio.wait(self._serving, timeout=limit)
            for task in late:
                task.cancel()
        await self._channel.close()


def _owed(stream: BatchStream) -> int:
    return len(stream.owed)
