"""The streams to one service: which backend gets the next batch, and what happens when it does not answer.

A batch goes to the backend that owes least. What a broken stream owed is asked again, elsewhere first; what is late is
asked of a second backend, and the first answer wins. A backend that answers wrongly is ejected: it gets no more batches
until the worker has no stream to it any more, as after its process has ended.
"""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from chassis.grpc_client.channel import open_channel
from chassis.grpc_client.stream_watch import StreamWatch
from chassis.metadata import CLIENT_ID, MAX_NAME, STREAM_ID
from chassis.telemetry.latency_histogram import LatencyHistogram
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.tls.renewed_certificates import RenewedCertificates
from worker_svc.backend_view import BackendView, Record, Sighting
from worker_svc.backends import Backends
from worker_svc.batch import Batch
from worker_svc.batch_stream import PROBE_DELAY_S, BatchStream, StreamBroken
from worker_svc.generation import HOPELESS, Generation
from worker_svc.handshake_budget import HandshakeBudget
from worker_svc.hedging import LEAST_LATE, Hedging
from worker_svc.pool_log import PoolLog
from worker_svc.question import Question
from worker_svc.rotation import Rotation
from worker_svc.step import Step
from worker_svc.verification import WrongDigest

LATE_CHECK = 0.1
"""Seconds between looks at what is late and could not be asked of a second backend. Also how late such a look may be:
a process that was itself held up has answers waiting that it has not read."""


# An ejected backend is used again when no stream to it was open for this long, as while its process is restarted.
# Generations overlap, so that there always is one to a process that lives.
READMISSION_DELAY_S = 0.25


@dataclass(slots=True)
class _Ejection:
    """The streams to a backend that answered wrongly, which get no batches, and of which no answer is taken."""

    streams: set[BatchStream]
    last_seen: float
    """When the last of its streams ended, or it was ejected."""


class StreamPool:
    """Asks for one step of batches, of whichever backend owes least."""

    def __init__(  # noqa: PLR0913 - one a setting
        self,
        step: Step,
        target: str,
        *,
        client_id: str,
        streams: int,
        window: int,
        generation: float,
        metrics: RpcMetrics,
        on_backends: Callable[[], None],
        certificates: RenewedCertificates | None = None,
        budget: HandshakeBudget | None = None,
        wrong_digest: Callable[[Batch, memoryview], WrongDigest | None] = lambda _batch, _answer: None,
    ) -> None:
        """A pool for at most `window` batches on at most `streams` streams, each of them open `generation` seconds.

        With certificates its streams are encrypted, and open longer where the budget of handshakes is used up.

        An answer in which `wrong_digest` finds one is not taken, and its backend is ejected.

        It counts its streams in `metrics`, and tells `on_backends` when a backend has come or gone, and when one is
        late or no longer so.
        """
        self._step = step
        self._target = target
        self._address = re.sub(r"^\w+:(//[^/]*/)?", "", target)[:MAX_NAME]
        self._wrong_digest = wrong_digest
        self._client_id = client_id
        self._watch = StreamWatch(step.path, metrics)
        self._streams_opened = 0
        self._certificates = certificates
        self._max_streams = streams
        self.on_answer: Callable[[Batch], None] = _unwanted
        """Whom to give the answered batches."""
        self.errors: Counter[str] = Counter()
        """Streams that broke, by gRPC code."""
        self.again: Counter[str] = Counter(broken=0, late=0, wrong=0)
        """Batches asked once more, by why: the stream they were asked on is over, they were late, or whom they were
        replica was ejected."""
        self.latency = LatencyHistogram()
        """Of all answers, in seconds, the wait for a stream with room and other attempts included."""
        self._on_backends = on_backends
        self._backends = Backends(window)
        self._ejected: dict[str, _Ejection] = {}
        self._view = BackendView()
        self._late_backends: list[str] = []
        self._unanswered: dict[int, Question] = {}
        self._waiting: deque[Question] = deque()
        self._hedging = Hedging(window)
        self._known: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._rotation = Rotation(self._new_generation, length=generation, target=target, name=step.name, budget=budget)
        self._log = PoolLog(step.name, target)

    def resize(self, window: int) -> None:
        """Have the streams share so many batches from now on."""
        self._backends.window = window
        self._hedging.capacity = window

    @property
    def backends(self) -> list[str]:
        """The names of the backends that take batches now, sorted."""
        return self._backends.names

    @property
    def ejected(self) -> list[str]:
        """The names of those that answered wrongly and get no more batches, sorted."""
        return sorted(self._ejected)

    @property
    def waiting(self) -> bool:
        """Whether batches get no answer: no backend takes any, or the oldest has waited for longer than is usual."""
        if not self._backends.names:
            return True
        oldest = min((question.submitted for question in self._unanswered.values()), default=float("inf"))
        return self._loop.time() - oldest > self._hedging.slow_after

    def take_view(self) -> tuple[Sighting, ...]:
        """What the backends did since this was last asked."""
        return self._view.take()

    def records(self) -> tuple[Record, ...]:
        """What the backends did since they came, of those that are listed; those gone for long are not."""
        return self._view.records()

    def owed_by(self, backend: str) -> int:
        """Batches that this backend has not answered."""
        return self._backends.owed(backend)

    @property
    def asked_again(self) -> int:
        """Batches asked once more, for whatever reason."""
        return self.again.total()

    def submit(self, batch: Batch) -> None:
        """Have a batch answered, however many attempts it takes; it waits here while no stream has room."""
        now = self._loop.time()
        question = self._unanswered[batch.id] = Question(batch, now)
        if batch.trace is not None:
            batch.trace.wanted(self._step)
        self._hedging.asked()
        self._waiting.append(question)
        self._dispatch(now)

    def _dispatch(self, now: float) -> None:
        while self._waiting and (stream := self._backends.next_stream(self._waiting[0].asked_of)) is not None:
            self._ask(stream, self._waiting.popleft(), now)

    def _ask(self, stream: BatchStream, question: Question, now: float) -> None:
        self._backends.asked(stream)
        if question.batch.trace is not None:
            question.batch.trace.asked(self._step, stream.backend, question.again)
        question.asked_at = now
        question.asked_of = stream.backend
        question.stream = stream.number
        question.late = False
        question.pending += 1
        stream.ask(question.batch, now)

    def opened(self, *streams: BatchStream) -> None:
        """Give these streams their share of the batches, unless they are to an ejected backend."""
        self._readmit()
        for stream in streams:
            if (ejection := self._ejected.get(stream.backend or "")) is not None:
                ejection.streams.add(stream)
            else:
                self._backends.add(stream)
        self._dispatch(self._loop.time())
        self._say_backends()

    def answered(self, stream: BatchStream, batch: Batch, answer: memoryview) -> None:
        """Pass the batch on, unless another stream was faster, and ask for one that waits."""
        if stream.backend in self._ejected:
            return  # others have been asked by now
        now = self._loop.time()
        question = self._unanswered.get(batch.id)
        if question is not None and (wrong := self._wrong_digest(batch, answer)) is not None:
            self._eject(stream, question, wrong)
            return
        self._backends.settled(stream, 1)
        if question is not None:
            del self._unanswered[batch.id]
            self.latency.observe(now - question.submitted)
            latency = None
            if not question.hedged:
                latency = now - question.asked_at
                self._hedging.answered(latency)
            self._view.answered(stream.backend or "", latency)
            if batch.trace is not None:
                batch.trace.answered(self._step, stream.backend)
            self._step.keep(batch, answer)
            self.on_answer(batch)
        if self._waiting:
            self._dispatch(self._loop.time())

    def ended(self, stream: BatchStream, broken: StreamBroken | None) -> None:
        """Ask others for what the stream still owes and nobody else does, before anything newer."""
        if broken is not None:
            self._rotation.hopeless = broken.code in HOPELESS
            self._rotation.broken = str(broken)
            self.errors[broken.code.name] += 1
            self._log.broken(stream, broken)
        if (ejection := self._ejected.get(stream.backend or "")) is not None:
            ejection.streams.discard(stream)
            ejection.last_seen = self._loop.time()
        else:
            self._backends.remove(stream)
            self._ask_elsewhere(stream, "broken", "" if broken is None else str(broken))
        self._dispatch(self._loop.time())
        self._say_backends()

    def _eject(self, stream: BatchStream, question: Question, wrong: WrongDigest) -> None:
        """Ask nothing more of the stream's backend, and ask others for all that it has not answered."""
        name = stream.backend or ""
        self._log.wrong(stream, question.batch, wrong)
        self._ejected[name] = _Ejection(self._backends.eject(name), self._loop.time())
        for each in self._ejected[name].streams:
            self._ask_elsewhere(each, "wrong", "wrong digest")
        self._withdraw(question, stream, "wrong", "wrong digest")
        self._dispatch(self._loop.time())
        self._say_backends()

    def _ask_elsewhere(self, stream: BatchStream, why: str, cause: str) -> None:
        for batch_id in reversed(stream.owed):
            if (question := self._unanswered.get(batch_id)) is not None:
                self._withdraw(question, stream, why, cause)

    def _withdraw(self, question: Question, stream: BatchStream, why: str, cause: str) -> None:
        """Send the batch elsewhere unless another stream is still to answer it."""
        question.pending -= 1
        question.withdrawn = why
        if cause and question.batch.trace is not None:
            question.batch.trace.broken(self._step, stream.backend, cause)
        if not question.pending:
            self.again[why] += 1
            self._waiting.appendleft(question)

    def retired(self, stream: BatchStream) -> None:
        """Ask nothing more of this stream."""
        self._backends.withdraw(stream)

    async def run(self) -> None:
        """Keep streams open and batches answered until cancelled.

        Raises what a stream's callbacks raised, which is a defect, in an ExceptionGroup.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rotation.run())
            tasks.create_task(self._hedge())
            await self._failure

    def failed(self, error: BaseException) -> None:
        """Have run() raise this."""
        if not self._failure.done():
            self._failure.set_exception(error)

    async def _hedge(self) -> None:
        present = self._loop.time()
        while True:
            first = min(self._candidates(), key=_asked_at, default=None)
            age = 0.0 if first is None else self._loop.time() - first.asked_at
            due = self._loop.time() + min(max(self._hedging.late_after - age, LATE_CHECK), LEAST_LATE)
            await asyncio.sleep(due - self._loop.time())
            if self._loop.time() - due < LATE_CHECK:
                self._count_late()
                self._hedge_late()
                slow = [question for question in self._candidates() if question.late]
                self._log.slow(slow, self._loop.time())
                self._late_backends = self._backends.late(self._loop.time() - self._hedging.late_after)
            self._readmit()
            self._say_backends()
            self._log.flush()
            if self.backends:
                present = self._loop.time()
            else:
                self._log.absence(present, self._loop.time(), self._why_absent())

    def _readmit(self) -> None:
        now = self._loop.time()
        for name, ejection in list(self._ejected.items()):
            if not ejection.streams and now - ejection.last_seen > READMISSION_DELAY_S:
                del self._ejected[name]

    def _why_absent(self) -> str:
        if self._ejected:
            return f"{' '.join(self.ejected)}: wrong digests, not used until restarted"
        return self._rotation.cause

    def _candidates(self) -> list[Question]:
        return [question for question in self._unanswered.values() if question.pending and not question.hedged]

    def _count_late(self) -> None:
        asked_before = self._loop.time() - self._hedging.slow_after
        for question in self._unanswered.values():
            if question.pending and not question.late and question.asked_at <= asked_before:
                question.late = True
                self._view.late(question.asked_of or "")

    def _hedge_late(self) -> None:
        asked_before = self._loop.time() - self._hedging.late_after
        for question in self._candidates():
            if not self._hedging.affordable:
                return
            if question.asked_at > asked_before:
                continue
            stream = self._backends.next_stream(question.asked_of)
            if stream is None or stream.backend == question.asked_of:
                continue
            self._log.late(question, stream.backend)
            self._hedging.spend()
            question.hedged = True
            self.again["late"] += 1
            self._ask(stream, question, self._loop.time())

    def _new_generation(self) -> Generation:
        channel = open_channel(self._target, self._step.service, self._certificates)
        return Generation(
            channel,
            self._open_stream,
            self,
            max_streams=self._max_streams,
            expected=len(self.backends) + len(self._ejected),
            others_answer=bool(self.backends),
        )

    def _open_stream(self, channel: grpc.aio.Channel) -> BatchStream:
        self._streams_opened += 1
        metadata = ((CLIENT_ID, self._client_id), (STREAM_ID, str(self._streams_opened)))
        call = self._watch.open(channel, metadata)
        # One that is known to have no name has none on its next stream either.
        delay = 0.0 if self._address in self.backends else PROBE_DELAY_S
        return BatchStream(call, self._step, self._address, self._streams_opened, probe_delay=delay)

    async def close(self, limit: float) -> None:
        """Half-close all streams, and cancel after `limit` seconds what has not ended by then. End run() first."""
        await self._rotation.close(limit)
        self._log.close()

    def _say_backends(self) -> None:
        known, self._known = self._known, self.backends
        if self._known != known:
            self._log.backends(self._known)
        if self._view.look(self._known, self._late_backends, self._loop.time(), ejected=self._ejected):
            self._on_backends()


def _asked_at(question: Question) -> float:
    return question.asked_at


def _unwanted(batch: Batch) -> None:
    raise AssertionError(f"nobody wants the answer to batch {batch.id}")
