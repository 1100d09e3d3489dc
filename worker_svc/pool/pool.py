"""The streams to one service: batches are sent, retried and hedged until each has a response.

A batch goes to the replica with the fewest outstanding batches. What is outstanding on a broken stream is retried,
elsewhere first. A batch that exceeds the hedging delay is sent to a second replica; the first response wins. A replica
with a wrong digest is ejected: it gets no more batches until its connection has ended, as after a restart.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import grpc

from chassis import log
from chassis.grpc_client import InstrumentedMethod
from chassis.grpc_options import CLIENT_ID, STREAM_ID
from chassis.log import ThrottledLogger
from chassis.redis.schema import ReplicaStats
from chassis.telemetry.latency_histogram import LatencyHistogram
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.tls import RenewedCertificates
from worker_svc.backoff import PERMANENT
from worker_svc.batch import HEDGE, Batch
from worker_svc.pool.endpoint import Attempt, Call, Endpoint, Stream, StreamBroken
from worker_svc.pool.picker import Picker, Replica
from worker_svc.pool.resolver import ResolutionError, Resolver
from worker_svc.stage import Stage, WrongDigest

LOOKUP_INTERVAL_S = 1.0
LOOKUP_JITTER = 0.1

# While no endpoint serves, and for a while after one was lost, so that a rolling restart leaves none alone.
FAST_LOOKUP_INTERVAL_S = 0.25
FAST_LOOKUP_TIME_S = 10.0

# If there are more addresses than endpoints may be, one is exchanged for another now and then.
EXCHANGE_INTERVAL_S = 5.0

# Between checks of what is slow and could not be hedged. Also how late such a check may be: a process that was itself
# held up has responses waiting that it has not read.
CHECK_INTERVAL_S = 0.1

# A stream without a response for so long is broken: at once if its replica completed newer batches on another one.
SILENCE_LIMIT_S = 30.0
OVERTAKEN_LIMIT_S = 2.0
OVERTAKEN_FACTOR = 2.0

# Hedged requests, of which the first response wins: Dean and Barroso, "The Tail at Scale", Communications of the ACM
# 56(2), 2013. A batch is hedged after this many times the usual latency.
HEDGING_DELAY_FACTOR = 4.0
# Shorter than the 2 to 7 s in which gRPC notices a frozen peer, longer than a busy machine's hiccups.
MIN_HEDGING_DELAY_S = 0.5
# The same as long as there has been no response, so that no latency is usual.
FIRST_SLOW_S = 3.0
# The part of all batches that may be hedged: when all are slow, as on an overloaded service, hedging would sink it.
HEDGING_BUDGET = 0.05
# The weight of the newest latency in the usual one.
LATENCY_WEIGHT = 1 / 32

# Others wait for a replaced endpoint so long at most: it may never serve again.
RENEWAL_LIMIT_S = 5.0

# For the streams to end once run() is cancelled.
CLOSE_LIMIT_S = 0.3

# An ejected replica is used again when no stream to it was open for this long.
READMISSION_DELAY_S = 0.25

# All services start at the same time, or one is started again: no endpoint for so long needs no mention.
ABSENCE_LIMIT_S = 3.0
# The same, as long as no reason is known: an attempt to connect may be under way.
UNKNOWN_ABSENCE_LIMIT_S = 4.0
# From one line about what is still so to the next.
REPEAT_S = 5.0


UNTRUSTED = "certificate not accepted, retrying with maximum backoff"
LOOKUP_FAILED = "look-up failed, keeping the addresses that are known"
# Of events that are logged less often than once a second.
LOG_INTERVALS_S = {
    LOOKUP_FAILED: 60.0,
    "stream refused, retrying with maximum backoff": 5.0,
    UNTRUSTED: 5.0,
}


class Hedging:
    """Learns which latency is usual, and keeps the budget, a token bucket."""

    def __init__(self, capacity: int) -> None:
        """Save up for this many hedges at most: for all that a frozen replica may hold. At the start there are none."""
        self.capacity = capacity
        self._tokens = 0.0
        self._usual: float | None = None

    @property
    def delay(self) -> float:
        """Seconds without a response after which a batch is slow, and is hedged if the budget allows it."""
        return FIRST_SLOW_S if self._usual is None else max(HEDGING_DELAY_FACTOR * self._usual, MIN_HEDGING_DELAY_S)

    def earn(self) -> None:
        """Add a new batch's part to the budget."""
        self._tokens = min(self._tokens + HEDGING_BUDGET, float(self.capacity))

    def observe(self, latency: float) -> None:
        """Learn from a batch that was not hedged."""
        self._usual = latency if self._usual is None else self._usual + LATENCY_WEIGHT * (latency - self._usual)

    def spend(self) -> bool:
        """Take one hedge from the budget, if it allows one."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(slots=True, eq=False)
class Request:
    """One stage of a batch, until its first response."""

    batch: Batch
    submitted_at: float
    response: "asyncio.Future[memoryview]"
    sent_at: float = 0.0
    sent_to: str | None = None
    """The replica of the last attempt."""
    stream: int = 0
    """The number of its stream."""
    attempts: int = 0
    """How many are outstanding: none while it waits, two once it is hedged."""
    failed: str = ""
    """Why the last attempt that ended without a response did."""
    slow: bool = False
    """Whether the last attempt was found to be over the hedging delay."""
    hedged: bool = False


class Pool:
    """Sends the batches of one stage. Times are of the event loop's clock."""

    def __init__(  # noqa: PLR0913 - one per setting
        self,
        stage: Stage,
        target: str,
        *,
        client_id: str,
        window: int,
        max_endpoints: int,
        metrics: RpcMetrics,
        on_change: Callable[[], None],
        certificates: RenewedCertificates | None = None,
    ) -> None:
        """Share `window` batches between at most `max_endpoints`, which run() finds.

        Counts streams in `metrics`, and calls `on_change` when the state of a replica has changed.
        """
        # Broken streams, by gRPC code.
        self.errors: Counter[str] = Counter()
        # Batches sent again because the attempt before ended without a valid response, by reason.
        self.retries: Counter[str] = Counter(broken=0, wrong_digest=0)
        self.hedges = 0
        # Seconds from response() to the response, of all batches.
        self.latency = LatencyHistogram()
        self.stage = stage
        self.certificates = certificates
        self._target = target
        self._on_change = on_change
        self._max_endpoints = max_endpoints
        self._metadata = (CLIENT_ID, client_id)
        self._watch = InstrumentedMethod(stage.path, metrics)
        self._streams_opened = 0
        self._loop = asyncio.get_running_loop()
        self._tasks = asyncio.TaskGroup()
        self._picker = Picker(window)
        self._hedging = Hedging(window)
        self._requests: dict[int, Request] = {}
        self._waiting: deque[Request] = deque()
        # When a stream to a replica with a wrong digest was open last, by name.
        self._ejected: dict[str, float] = {}
        self._resolver = Resolver(target)
        self.authority = self._resolver.authority
        self._unresolved = ""
        # Those that DNS names, by address; and all that are open, those that drain too.
        self._endpoints: dict[str, Endpoint] = {}
        self._open: dict[Endpoint, asyncio.Task[None]] = {}
        # The last endpoint that served and was replaced for its certificates, and until when others wait for it.
        self._renewed: Endpoint | None = None
        self._renewed_until = 0.0
        self._exchange_at = 0.0
        self._lost_at = float("-inf")
        self._serving_at = self._loop.time()
        self._names: list[str] = []
        self._silent_until = dict.fromkeys(("slow", "absent"), 0.0)
        self._lines: dict[str, ThrottledLogger] = {}

    def resize(self, window: int) -> None:
        """Share another number of batches from now on."""
        self._picker.window = window
        self._hedging.capacity = window

    @property
    def replicas(self) -> list[str]:
        """The names of those that take batches now, sorted."""
        return self._picker.names

    @property
    def listed(self) -> list[Replica]:
        """Replicas in whatever state, those that are gone for long excepted."""
        return self._picker.replicas

    @property
    def ejected(self) -> list[str]:
        """The names of replicas whose digests were wrong, sorted."""
        return sorted(self._ejected)

    @property
    def _streams(self) -> list[Stream]:
        return [stream for endpoint in self._open for stream in endpoint.streams]

    @property
    def waiting(self) -> bool:
        """Whether batches get no response: no replica takes any, or the oldest has waited for longer than is usual."""
        if not self.replicas:
            return True
        oldest = min((request.submitted_at for request in self._requests.values()), default=float("inf"))
        return self._loop.time() - oldest > self._hedging.delay

    @property
    def sent_again(self) -> int:
        """Batches sent more than once, for whatever reason."""
        return self.retries.total() + self.hedges

    def snapshot(self) -> tuple[ReplicaStats, ...]:
        """Return what was seen of the replicas since the last snapshot."""
        return self._picker.snapshot()

    # The way of a batch: send, response; or retry, hedge, eject.

    def response(self, batch: Batch) -> "asyncio.Future[memoryview]":
        """Return the payload of the response, however many attempts it takes; a batch waits until a stream has room."""
        now = self._loop.time()
        request = self._requests[batch.id] = Request(batch, now, self._loop.create_future())
        if batch.trace is not None:
            batch.trace.submitted(self.stage.name, self.stage.path)
        self._hedging.earn()
        self._waiting.append(request)
        self._dispatch(now)
        return request.response

    def _dispatch(self, now: float) -> None:
        while self._waiting and (stream := self._picker.pick(self._waiting[0].sent_to)) is not None:
            request = self._waiting.popleft()
            self._send(stream, request, now, request.failed)

    def _send(self, stream: Stream, request: Request, now: float, reason: str) -> None:
        self._picker.sent(stream)
        if request.batch.trace is not None:
            request.batch.trace.sent(self.stage.name, stream.replica, reason)
        request.sent_at = now
        request.sent_to = stream.replica
        request.stream = stream.number
        request.slow = False
        request.attempts += 1
        stream.send(request.batch, now)

    def completed(self, stream: Stream, attempt: Attempt, payload: memoryview) -> None:
        """Pass the batch on, unless another attempt was faster, and send one that waits."""
        if stream.replica in self._ejected:
            return
        batch = attempt.batch
        request = self._requests.get(batch.id)
        if request is not None and (wrong := self.stage.wrong_digest(batch, payload)) is not None:
            self._eject(stream, request, wrong)
            return
        now = self._loop.time()
        self._picker.completed(stream)
        if request is not None:
            del self._requests[batch.id]
            self.latency.observe(now - request.submitted_at)
            latency = None if request.hedged else now - request.sent_at
            if latency is not None:
                self._hedging.observe(latency)
            self._picker.observe(stream, latency)
            if batch.trace is not None:
                batch.trace.completed(self.stage.name, stream.replica)
            if not request.response.cancelled():
                request.response.set_result(payload)
        if self._waiting:
            self._dispatch(now)

    def ended(self, stream: Stream, broken: StreamBroken | None) -> None:
        """Retry what is outstanding on this stream and on no other, before anything newer."""
        if broken is not None:
            self.errors[broken.code.name] += 1
            is_permanent = broken.code in PERMANENT
            event = "stream refused, retrying with maximum backoff" if is_permanent else "stream broken"
            about: dict[str, Any] = {"replica": stream.replica, "stream": stream.number, "code": broken.code.name}
            about |= {"details": broken.details, "outstanding": len(stream.outstanding)}
            self._note(event, "error" if is_permanent else "warning", **about)
        if stream.replica in self._ejected:
            self._ejected[stream.replica] = self._loop.time()
        else:
            self._picker.remove(stream)
            self._retry(stream.outstanding, stream, "broken", "" if broken is None else str(broken))
        if stream.replica is not None:
            self._lost_at = self._loop.time()
        self.changed()

    def _retry(self, batch_ids: Iterable[int], stream: Stream, reason: str, cause: str) -> None:
        for request in [self._requests[batch_id] for batch_id in batch_ids if batch_id in self._requests][::-1]:
            request.attempts -= 1
            request.failed = reason
            if cause and request.batch.trace is not None:
                request.batch.trace.broken(self.stage.name, stream.replica, cause)
            if not request.attempts:
                request.hedged = False
                self.retries[reason] += 1
                self._waiting.appendleft(request)

    def _eject(self, stream: Stream, request: Request, wrong: WrongDigest) -> None:
        """Send no more batches to the stream's replica, and retry elsewhere all that is outstanding there."""
        name = stream.replica or ""
        where = {"replica": name, "stream": stream.number, "batch": request.batch.id}
        self._note("wrong digest, replica ejected", level="error", **where, **wrong._asdict())
        self._ejected[name] = self._loop.time()
        for each in self._picker.eject(name):
            self._retry(each.outstanding, each, "wrong_digest", "wrong digest")
        self._retry([request.batch.id], stream, "wrong_digest", "wrong digest")
        self.changed()

    def _readmit(self, joining: Stream | None = None) -> None:
        if not self._ejected:
            return
        now = self._loop.time()
        open_to = {stream.replica for stream in self._streams if stream is not joining}
        for name, open_at in list(self._ejected.items()):
            if name in open_to:
                self._ejected[name] = now
            elif now - open_at > READMISSION_DELAY_S:
                del self._ejected[name]

    # Streams that come and go.

    def joined(self, stream: Stream) -> None:
        """Give a stream its share of the batches, unless its replica is ejected."""
        self._readmit(stream)
        if stream.replica not in self._ejected:
            self._picker.add(stream)
        self.changed()

    def changed(self) -> None:
        """Drain streams that are leaving, if others stay, and send what waits."""
        now = self._loop.time()
        others_stay = any(each.serving and each.name not in self._ejected for each in self._open)
        for stream in self._streams:
            is_due = now >= stream.leaves_at and not stream.half_closed
            if is_due and (others_stay or stream.endpoint.stopping or stream.replica in self._ejected):
                self._picker.drain(stream)
                stream.half_close()
                self._lost_at = now
        self._dispatch(now)
        self._note_states()

    def _note_states(self) -> None:
        names = self.replicas
        if names != self._names:
            self._names = names
            self._note("endpoints", level="info", count=len(names), names=" ".join(names))
        now = self._loop.time()
        connecting = {each.name: each.address for each in self._endpoints.values() if not each.serving}
        if self._picker.update(
            now, slow_before=now - self._hedging.delay, connecting=connecting, ejected=self._ejected
        ):
            self._on_change()

    def untrusted(self, details: str) -> None:
        """Log that one side does not accept the other's certificate."""
        self._note(UNTRUSTED, level="error", target=self._target, details=details)

    # Endpoints that come and go.

    async def run(self) -> None:
        """Find endpoints and keep batches going until cancelled; then end the streams, within CLOSE_LIMIT_S.

        Raises what the callbacks of streams raised, which is a defect, in an ExceptionGroup.
        """
        async with self._tasks:
            working = [self._tasks.create_task(self._follow()), self._tasks.create_task(self._check())]
            try:
                await asyncio.gather(*working)
            finally:
                await self._end_streams()

    async def _end_streams(self) -> None:
        for endpoint in self._open:
            endpoint.retire()
            for stream in endpoint.streams:
                stream.half_close()
        if self._open:
            await asyncio.wait(self._open.values(), timeout=CLOSE_LIMIT_S)
        for line in self._lines.values():
            line.close()

    async def _follow(self) -> None:
        """Look the target up again and again. A look-up that fails or finds nothing changes nothing."""
        failing_since = float("inf")
        while True:
            began = self._loop.time()
            try:
                addresses = await self._resolver.resolve()
            except ResolutionError as error:
                self._unresolved = str(error)
                failing_since = min(failing_since, began)
                if began - failing_since > ABSENCE_LIMIT_S:
                    self._note(LOOKUP_FAILED, target=self._target, details=self._unresolved)
            else:
                self._unresolved = ""
                failing_since = float("inf")
                if self._resolver.truncated:
                    details = f"too long for UDP, and TCP does not work: only {len(addresses)} addresses are known"
                    self._note(LOOKUP_FAILED, target=self._target, details=details)
                    kept = [address for address, endpoint in self._endpoints.items() if endpoint.serving]
                    addresses = list(dict.fromkeys(kept + addresses))
                self._apply(addresses)
            self._renew()
            serving = any(endpoint.serving for endpoint in self._endpoints.values())
            is_fast = not serving or began - self._lost_at < FAST_LOOKUP_TIME_S
            interval = FAST_LOOKUP_INTERVAL_S if is_fast else LOOKUP_INTERVAL_S
            interval *= random.uniform(1 - LOOKUP_JITTER, 1)  # noqa: S311 - jitter is no secret
            await asyncio.sleep(began + interval - self._loop.time())

    def _apply(self, addresses: Sequence[str]) -> None:
        wanted = self._select(addresses)
        for address in self._endpoints.keys() - wanted:
            self._endpoints.pop(address).retire()
        for address in wanted - self._endpoints.keys():
            self._add(address)
        self.changed()

    def _select(self, addresses: Sequence[str]) -> set[str]:
        """Choose all, or as many as there may be: those there are, of which one is exchanged now and then."""
        if len(addresses) <= self._max_endpoints:
            return set(addresses)
        kept = [address for address in addresses if address in self._endpoints]
        others = [address for address in addresses if address not in self._endpoints]
        random.shuffle(kept)
        if self._loop.time() >= self._exchange_at:
            self._exchange_at = self._loop.time() + EXCHANGE_INTERVAL_S
            del kept[self._max_endpoints - 1 :]
        return {*kept[: self._max_endpoints], *random.sample(others, max(0, self._max_endpoints - len(kept)))}

    def _add(self, address: str) -> Endpoint:
        endpoint = self._endpoints[address] = Endpoint(address, self)
        self._open[endpoint] = self._tasks.create_task(endpoint.run())
        self._open[endpoint].add_done_callback(lambda _: self._open.pop(endpoint))
        return endpoint

    def open_call(self, channel: grpc.aio.Channel) -> tuple[int, Call]:
        """Open a stream, and return the number by which logs name it, too."""
        self._streams_opened += 1
        metadata = (self._metadata, (STREAM_ID, str(self._streams_opened)))
        return self._streams_opened, self._watch.open(channel, metadata)

    def _renew(self) -> None:
        """Replace endpoints whose certificates were renewed on disk; those that serve one after the other."""
        if self.certificates is None:
            return
        self.certificates.check()
        now = self._loop.time()
        for address, endpoint in list(self._endpoints.items()):
            is_next = self._renewed is None or self._renewed.serving or now > self._renewed_until
            if endpoint.certificates is not self.certificates.latest and (is_next or not endpoint.serving):
                was_serving = endpoint.serving
                endpoint.retire()
                renewed = self._add(address)
                if was_serving:
                    self._renewed, self._renewed_until = renewed, now + RENEWAL_LIMIT_S

    # What is slow, silent or absent.

    async def _check(self) -> None:
        while True:
            began = self._loop.time()
            pending = [each.sent_at for each in self._requests.values() if each.attempts and not each.hedged]
            slow_at = min(pending, default=began) + self._hedging.delay
            due = min(max(slow_at, began + CHECK_INTERVAL_S), began + MIN_HEDGING_DELAY_S)
            await asyncio.sleep(due - began)
            now = self._loop.time()
            if now - due < CHECK_INTERVAL_S:
                self._hedge(now)
                self._replace_silent(now)
            self._readmit()
            # Otherwise nothing but streams and look-ups changes a state.
            if self._requests:
                self._note_states()
            for line in self._lines.values():
                line.flush()
            if self._names:
                self._serving_at = now
            else:
                self._log_absence(now)

    def _hedge(self, now: float) -> None:
        """Send what is over the hedging delay to a second replica, as far as the budget goes, and log the rest."""
        slow: list[Request] = []
        about: dict[str, Any]
        for request in self._requests.values():
            if not request.attempts or now - request.sent_at < self._hedging.delay:
                continue
            replica = self._picker.find(request.sent_to)
            if replica is not None and not request.slow:
                replica.slow += 1
            request.slow = True
            if request.hedged:
                continue
            stream = self._picker.pick(request.sent_to)
            if stream is None or stream.replica == request.sent_to or not self._hedging.spend():
                slow.append(request)
                continue
            about = {"batch": request.batch.id, "replica": request.sent_to, "stream": request.stream}
            self._note("over the hedging delay, sent to a second replica", **about, second=stream.replica)
            self.hedges += 1
            request.hedged = True
            self._send(stream, request, now, HEDGE)
        if slow and now >= self._silent_until["slow"]:
            self._silent_until["slow"] = now + REPEAT_S
            about = {"batch": slow[0].batch.id, "replica": slow[0].sent_to, "stream": slow[0].stream}
            about |= {"seconds": round(now - slow[0].sent_at, 1), "batches": len(slow)}
            log.get(to=self.stage.name).warning("no response yet", **about)

    def _replace_silent(self, now: float) -> None:
        """Give up streams that stay silent although their server completes newer batches, or for very long."""
        overtaken_limit = max(OVERTAKEN_LIMIT_S, OVERTAKEN_FACTOR * self._hedging.delay)
        for endpoint in self._open:
            for stream in endpoint.streams:
                is_idle = stream.replica is not None and not stream.outstanding
                if is_idle or (silent := now - stream.oldest) < overtaken_limit:
                    continue
                if silent > SILENCE_LIMIT_S or any(other.newest > stream.oldest for other in endpoint.streams):
                    stream.give_up(f"no response for {silent:.1f} s")
                for other in endpoint.streams:
                    if not other.outstanding:
                        other.probe()

    def _log_absence(self, now: float) -> None:
        if now - self._serving_at < ABSENCE_LIMIT_S or now < self._silent_until["absent"]:
            return
        details = self._unresolved
        if self._ejected:
            details = f"{' '.join(self.ejected)}: wrong digests, not used until restarted"
        elif self._endpoints:
            details = random.choice(list(self._endpoints.values())).cause  # noqa: S311 - no secret
        if details or now - self._serving_at > UNKNOWN_ABSENCE_LIMIT_S:
            self._silent_until["absent"] = now + REPEAT_S
            details = details or "still connecting, or looking up the name"
            seconds = round(now - self._serving_at, 1)
            line = log.get(to=self.stage.name, target=self._target)
            line.warning("no endpoint, still trying", seconds=seconds, details=details)

    def _note(self, event: str, level: Literal["info", "warning", "error"] = "warning", **fields: object) -> None:
        if event not in self._lines:
            interval_s = LOG_INTERVALS_S.get(event, 1.0)
            self._lines[event] = ThrottledLogger(event, interval_s, level, to=self.stage.name)
        self._lines[event].log(**fields)
