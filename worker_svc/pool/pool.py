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

from chassis import log
from chassis.grpc_client import InstrumentedMethod, is_untrusted, open_channel
from chassis.log import ThrottledLogger
from chassis.telemetry.metrics import LatencyHistogram
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.tls import RenewedCertificates
from worker_svc.backoff import LAST, PERMANENT, Backoff, sleep_unless
from worker_svc.batch import HEDGE, Batch
from worker_svc.pool.endpoint import Endpoint, Stream, StreamBroken
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

# Between two endpoints that are replaced for their certificates, so that the first serves before the next one drains.
RENEWAL_INTERVAL_S = 1.0

# Before a lost connection is replaced.
RECONNECTION_DELAY_S = 0.25

# For the streams to end once run() is cancelled.
CLOSE_LIMIT_S = 0.3

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
    # The last attempt: its stream, when it was sent, and whether it was found to be over the hedging delay.
    stream: Stream | None = None
    sent_at: float = 0.0
    slow: bool = False
    # How many attempts are outstanding: none while it waits, two once it is hedged.
    attempts: int = 0
    hedged: bool = False
    # Why the last attempt that ended without a response did.
    failed: str = ""

    @property
    def replica(self) -> str:
        """The replica of the last attempt."""
        return "" if self.stream is None else self.stream.replica


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
        self.picker = Picker(window)
        self._stage = stage
        self._target = target
        self._client_id = client_id
        self._max_endpoints = max_endpoints
        self._method = InstrumentedMethod(stage.path, metrics)
        self._on_change = on_change
        self._certificates = certificates
        self._resolver = Resolver(target)
        self._hedging = Hedging(window)
        self._loop = asyncio.get_running_loop()
        self._tasks = asyncio.TaskGroup()
        self._requests: dict[int, Request] = {}
        self._waiting: deque[Request] = deque()
        self._streams_opened = 0
        # Those that DNS names, by target; and all that are open, those that drain too.
        self._endpoints: dict[str, Endpoint] = {}
        self._open: dict[Endpoint, asyncio.Task[None]] = {}
        self._exchange_at = self._renew_at = 0.0
        # When a stream ended last, and when a replica took batches last.
        self._lost_at = float("-inf")
        self._serving_at = self._loop.time()
        # The replicas, and why the last look-up failed.
        self._names: list[str] = []
        self._unresolved = ""
        self._lines: dict[str, ThrottledLogger] = {}
        self._silent_until = {"slow": 0.0, "absent": 0.0}

    def resize(self, window: int) -> None:
        """Share another number of batches from now on."""
        self.picker.window = self._hedging.capacity = window

    @property
    def replicas(self) -> list[str]:
        """The names of those that take batches now, sorted."""
        return self.picker.names

    @property
    def waiting(self) -> bool:
        """Whether batches get no response: no replica takes any, or the oldest has waited for longer than is usual."""
        oldest = min((request.submitted_at for request in self._requests.values()), default=float("inf"))
        return not self.replicas or self._loop.time() - oldest > self._hedging.delay

    @property
    def sent_again(self) -> int:
        """Batches sent more than once, for whatever reason."""
        return self.retries.total() + self.hedges

    # The way of a batch: send, complete; or retry, hedge, eject.

    def response(self, batch: Batch) -> "asyncio.Future[memoryview]":
        """Return the payload of the response, however many attempts it takes; a batch waits until a stream has room."""
        now = self._loop.time()
        request = self._requests[batch.id] = Request(batch, now, self._loop.create_future())
        if batch.trace is not None:
            batch.trace.submitted(self._stage.name, self._stage.path)
        self._hedging.earn()
        self._waiting.append(request)
        self._dispatch(now)
        return request.response

    def _dispatch(self, now: float) -> None:
        while self._waiting and (stream := self.picker.pick(self._waiting[0].replica)) is not None:
            request = self._waiting.popleft()
            self._send(stream, request, now, request.failed)

    def _send(self, stream: Stream, request: Request, now: float, reason: str) -> None:
        self.picker.sent(stream)
        if request.batch.trace is not None:
            request.batch.trace.sent(self._stage.name, stream.replica, reason)
        request.stream = stream
        request.sent_at = now
        request.slow = False
        request.attempts += 1
        stream.send(request.batch, now)

    def _complete(self, stream: Stream, batch: Batch, payload: memoryview) -> None:
        """Pass the batch on, unless another attempt was faster, and send one that waits."""
        replica = self.picker.replicas[stream.replica]
        replica.outstanding -= 1
        if replica.ejected:
            return
        now = self._loop.time()
        request = self._requests.get(batch.id)
        if request is not None:
            if (wrong := self._stage.wrong_digest(batch, payload)) is not None:
                self._eject(replica, stream, request, wrong)
                return
            del self._requests[batch.id]
            self.latency.observe(now - request.submitted_at)
            latency = None if request.hedged else now - request.sent_at
            if latency is not None:
                self._hedging.observe(latency)
            replica.observe(latency)
            if batch.trace is not None:
                batch.trace.completed(self._stage.name, stream.replica)
            if not request.response.cancelled():
                request.response.set_result(payload)
        if self._waiting:
            self._dispatch(now)

    def _retry(self, batch_ids: Iterable[int], stream: Stream, reason: str, cause: str) -> None:
        """Send batches again, before anything newer, unless another attempt is outstanding."""
        for request in [self._requests[batch_id] for batch_id in batch_ids if batch_id in self._requests][::-1]:
            request.attempts -= 1
            request.failed = reason
            if cause and request.batch.trace is not None:
                request.batch.trace.broken(self._stage.name, stream.replica, cause)
            if not request.attempts:
                request.hedged = False
                self.retries[reason] += 1
                self._waiting.appendleft(request)

    def _eject(self, replica: Replica, stream: Stream, request: Request, wrong: WrongDigest) -> None:
        """Send no more batches to a replica, and retry elsewhere all that is outstanding there."""
        where = {"replica": replica.name, "stream": stream.number, "batch": request.batch.id}
        self._note("wrong digest, replica ejected", level="error", **where, **wrong._asdict())
        self.picker.eject(replica)
        for each in replica.streams:
            self._retry(each.outstanding, each, "wrong_digest", "wrong digest")
        self._retry([request.batch.id], stream, "wrong_digest", "wrong digest")
        self._changed()

    # Streams that come and go.

    async def _keep_stream(self, endpoint: Endpoint) -> None:
        """Have one stream open, again after each break, until its endpoint leaves."""
        backoff = Backoff()
        while not endpoint.left.is_set():
            self._streams_opened += 1
            stream = Stream(endpoint, self._stage, self._method, self._client_id, self._streams_opened)
            endpoint.streams.add(stream)
            broken = None
            try:
                await stream.run(self._join, self._complete)
            except StreamBroken as error:
                broken = error
                endpoint.cause = str(error)
            finally:
                endpoint.streams.discard(stream)
                self._end(stream, broken)
            if stream.worked:
                backoff.reset()
            is_permanent = broken is not None and broken.code in PERMANENT
            await sleep_unless(endpoint.left, backoff.slowest() if is_permanent else backoff.pause())

    def _join(self, stream: Stream) -> None:
        self.picker.add(stream, self._loop.time())
        self._changed()

    def _end(self, stream: Stream, broken: StreamBroken | None) -> None:
        """Retry what is outstanding on this stream and on no other."""
        if broken is not None:
            self.errors[broken.code.name] += 1
            is_permanent = broken.code in PERMANENT
            event = "stream refused, retrying with maximum backoff" if is_permanent else "stream broken"
            about: dict[str, Any] = {"replica": stream.replica, "stream": stream.number, "code": broken.code.name}
            about |= {"details": broken.details, "outstanding": len(stream.outstanding)}
            self._note(event, "error" if is_permanent else "warning", **about)
        if stream.replica:
            self._lost_at = self._loop.time()
            if not self.picker.remove(stream, self._lost_at).ejected:
                self._retry(stream.outstanding, stream, "broken", "" if broken is None else str(broken))
        self._changed()

    def _changed(self) -> None:
        """Replace endpoints that have left, drain them if others serve, and send what waits."""
        for target, endpoint in list(self._endpoints.items()):
            if endpoint.left.is_set():
                is_refused = is_untrusted(endpoint.cause)
                if is_refused:
                    self._note(UNTRUSTED, level="error", target=self._target, details=endpoint.cause)
                self._add(target, LAST if is_refused else RECONNECTION_DELAY_S)
        ejected = self.picker.ejected
        others_serve = any(each.serving and each.name not in ejected for each in self._open)
        for endpoint in self._open:
            if endpoint.may_drain and (others_serve or endpoint.stopping or endpoint.name in ejected):
                for stream in endpoint.streams:
                    self.picker.drain(stream)
                    stream.half_close()
        self._dispatch(self._loop.time())
        self._note_states()

    def _note_states(self) -> None:
        if self.replicas != self._names:
            self._names = self.replicas
            self._note("endpoints", level="info", count=len(self._names), names=" ".join(self._names))
        now = self._loop.time()
        connecting = {each.name: each.address for each in self._endpoints.values() if not each.serving}
        if self.picker.update(now, slow_before=now - self._hedging.delay, connecting=connecting):
            self._on_change()

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
        self._endpoints.clear()
        for endpoint in self._open:
            endpoint.leave()
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
                self._apply(addresses)
            self._renew()
            is_fast = began - self._lost_at < FAST_LOOKUP_TIME_S or not self._serving
            interval = FAST_LOOKUP_INTERVAL_S if is_fast else LOOKUP_INTERVAL_S
            interval *= random.uniform(1 - LOOKUP_JITTER, 1)  # noqa: S311 - jitter is no secret
            await asyncio.sleep(began + interval - self._loop.time())

    @property
    def _serving(self) -> list[str]:
        return [target for target, endpoint in self._endpoints.items() if endpoint.serving]

    def _apply(self, addresses: Sequence[str]) -> None:
        """Have an endpoint at each of these addresses, if they are not too many, and at no other."""
        if self._resolver.truncated:
            details = f"too long for UDP, and TCP does not work: only {len(addresses)} addresses are known"
            self._note(LOOKUP_FAILED, target=self._target, details=details)
            addresses = list(dict.fromkeys([*self._serving, *addresses]))
        wanted = self._select(addresses)
        for target in self._endpoints.keys() - wanted:
            self._endpoints.pop(target).leave()
        for target in wanted - self._endpoints.keys():
            self._add(target)
        self._changed()

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

    def _add(self, target: str, pause: float = 0.0) -> None:
        """Open an endpoint, in place of the one before if there is one, and connect after a pause in seconds."""
        endpoint = Endpoint(
            target.partition(":")[2],
            open_channel(target, self._stage.service, self._certificates, authority=self._resolver.authority),
            None if self._certificates is None else self._certificates.latest,
            keep_stream=self._keep_stream,
            on_change=self._changed,
        )
        if (before := self._endpoints.get(target)) is not None:
            endpoint.name, endpoint.cause = before.name, before.cause
        self._endpoints[target] = endpoint
        self._open[endpoint] = self._tasks.create_task(endpoint.run(pause))
        self._open[endpoint].add_done_callback(lambda _: self._open.pop(endpoint))

    def _renew(self) -> None:
        """Replace endpoints whose certificates were renewed on disk; those that serve one after the other."""
        if self._certificates is None:
            return
        self._certificates.check()
        for target, endpoint in list(self._endpoints.items()):
            is_next = not endpoint.serving or self._loop.time() >= self._renew_at
            if endpoint.certificates is not self._certificates.latest and is_next:
                if endpoint.serving:
                    self._renew_at = self._loop.time() + RENEWAL_INTERVAL_S
                endpoint.leave()
                self._add(target)
        self._changed()

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
        slow: list[tuple[Request, dict[str, Any]]] = []
        for request in self._requests.values():
            if request.stream is None or not request.attempts or now - request.sent_at < self._hedging.delay:
                continue
            replica = self.picker.replicas.get(request.replica)
            if replica is not None and not request.slow:
                replica.slow += 1
            request.slow = True
            if request.hedged:
                continue
            about: dict[str, Any] = {
                "batch": request.batch.id,
                "replica": request.replica,
                "stream": request.stream.number,
            }
            stream = self.picker.pick(request.replica)
            if stream is None or stream.replica == request.replica or not self._hedging.spend():
                slow.append((request, about))
                continue
            self._note("over the hedging delay, sent to a second replica", **about, second=stream.replica)
            self.hedges += 1
            request.hedged = True
            self._send(stream, request, now, HEDGE)
        if slow and now >= self._silent_until["slow"]:
            self._silent_until["slow"] = now + REPEAT_S
            [request, about], *_ = slow
            seconds = round(now - request.sent_at, 1)
            log.get(to=self._stage.name).warning("no response yet", **about, seconds=seconds, batches=len(slow))

    def _replace_silent(self, now: float) -> None:
        """Give up streams that stay silent although their server completes newer batches, or for very long."""
        overtaken_limit = max(OVERTAKEN_LIMIT_S, OVERTAKEN_FACTOR * self._hedging.delay)
        for stream, others in [(stream, each.streams) for each in self._open for stream in each.streams]:
            if (silent := now - stream.oldest) > overtaken_limit:
                if silent > SILENCE_LIMIT_S or any(other.newest > stream.oldest for other in others):
                    stream.give_up(f"no response for {silent:.1f} s")
                for other in others:
                    if not other.outstanding:
                        other.probe()

    def _log_absence(self, now: float) -> None:
        """Log why there is no replica, if there has been none for long."""
        absent = now - self._serving_at
        if absent < ABSENCE_LIMIT_S or now < self._silent_until["absent"]:
            return
        details = self._unresolved
        if self.picker.ejected:
            details = f"{' '.join(self.picker.ejected)}: wrong digests, not used until restarted"
        elif self._endpoints:
            details = random.choice(list(self._endpoints.values())).cause  # noqa: S311 - no secret
        if details or absent > UNKNOWN_ABSENCE_LIMIT_S:
            self._silent_until["absent"] = now + REPEAT_S
            details = details or "still connecting, or looking up the name"
            line = log.get(to=self._stage.name, target=self._target)
            line.warning("no endpoint, still trying", seconds=round(absent, 1), details=details)

    def _note(self, event: str, level: Literal["info", "warning", "error"] = "warning", **fields: object) -> None:
        if event not in self._lines:
            interval_s = LOG_INTERVALS_S.get(event, 1.0)
            self._lines[event] = ThrottledLogger(event, interval_s, level, to=self._stage.name)
        self._lines[event].log(**fields)
