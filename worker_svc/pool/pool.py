"""The streams to one service: batches are sent, retried and hedged until each has a response.

A batch goes to the replica with the fewest outstanding batches. What is outstanding on a broken stream is retried,
elsewhere first. A batch that exceeds the hedging delay is sent to a second replica; the first response wins. A replica
with a wrong digest is ejected: it gets no more batches until its connection has ended, as after a restart.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from chassis import log
from chassis.grpc_client import InstrumentedMethod, is_untrusted, open_channel
from chassis.grpc_options import MAX_NAME
from chassis.log import ThrottledLogger
from chassis.telemetry.metrics import LatencyHistogram
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.timing import sleep_unless
from chassis.tls import RenewedCertificates
from worker_svc.backoff import LAST, Backoff
from worker_svc.batch import HEDGE, Batch
from worker_svc.pool.endpoint import Attempt, Endpoint, Stream, StreamBroken
from worker_svc.pool.picker import Picker, Replica
from worker_svc.pool.resolver import Resolver
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

ENDPOINTS = "endpoints"
REFUSED = "stream refused, retrying with maximum backoff"
EJECTED = "wrong digest, replica ejected"
UNTRUSTED = "certificate not accepted, retrying with maximum backoff"
LOOKUP_FAILED = "look-up failed, keeping the addresses that are known"
# Levels, and seconds in which an event is logged once at most; of all others warnings, once a second.
LINES: dict[str, tuple[Literal["info", "warning", "error"], float]] = {
    ENDPOINTS: ("info", 1.0),
    REFUSED: ("error", 5.0),
    EJECTED: ("error", 1.0),
    UNTRUSTED: ("error", 5.0),
    LOOKUP_FAILED: ("warning", 60.0),
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
    # The replica of the last attempt.
    replica: str = ""
    # How many attempts are outstanding: none while it waits, two once it is hedged.
    attempts: int = 0
    hedged: bool = False
    # Why the last attempt that ended without a response did.
    failed: str = ""


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
        self._max_endpoints = max_endpoints
        self._method = InstrumentedMethod(stage.path, metrics, client_id)
        self._on_change = on_change
        self._certificates = certificates
        self._resolver = Resolver(target)
        self._hedging = Hedging(window)
        self._loop = asyncio.get_running_loop()
        self._tasks = asyncio.TaskGroup()
        self._requests: dict[int, Request] = {}
        self._waiting: deque[Request] = deque()
        # Targets of one address each that DNS names, or those of them that are used.
        self._wanted: set[str] = set()
        # An endpoint for each of them; and all that are open, those that drain too.
        self._endpoints: dict[str, Endpoint] = {}
        self._open: dict[Endpoint, asyncio.Task[None]] = {}
        self._exchange_at = self._renew_at = 0.0
        # The replicas that take batches, when there were any last, and when a stream ended last.
        self._names: list[str] = []
        self._serving_at = self._loop.time()
        self._lost_at = float("-inf")
        self._lines: dict[str, ThrottledLogger] = {}
        self._silent_until = {"slow": 0.0, "absent": 0.0}

    def resize(self, window: int) -> None:
        """Share another number of batches from now on."""
        self.picker.window = self._hedging.capacity = window

    @property
    def replicas(self) -> list[str]:
        """The names of those that take batches now, sorted."""
        return sorted(replica.name for replica in self.picker.replicas.values() if replica.accepting)

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
        request.replica = stream.replica
        request.attempts += 1
        stream.send(request.batch, now)

    def _complete(self, stream: Stream, attempt: Attempt, payload: memoryview) -> None:
        """Pass the response on, unless another attempt was faster, and send a batch that waits."""
        batch = attempt.batch
        replica = self.picker.replicas[stream.replica]
        request = None if replica.ejected else self._requests.get(batch.id)
        if request is not None and (wrong := self._stage.wrong_digest(batch, payload)) is not None:
            self._eject(replica, stream, batch, wrong)
            request = None
        del stream.outstanding[batch.id]
        replica.outstanding -= 1
        now = self._loop.time()
        if request is not None:
            del self._requests[batch.id]
            self.latency.observe(now - request.submitted_at)
            latency = None if request.hedged else now - attempt.sent_at
            if latency is not None:
                self._hedging.observe(latency)
            replica.observe(latency)
            if batch.trace is not None:
                batch.trace.completed(self._stage.name, stream.replica)
            if not request.response.cancelled():
                request.response.set_result(payload)
        if self._waiting:
            self._dispatch(now)

    def _retry(self, stream: Stream, reason: str, cause: str) -> None:
        """Retry what is outstanding on a stream and on no other, before anything newer."""
        for batch_id in reversed(stream.outstanding):
            if (request := self._requests.get(batch_id)) is None:
                continue
            request.attempts -= 1
            request.failed = reason
            if request.batch.trace is not None:
                request.batch.trace.broken(self._stage.name, stream.replica, cause)
            if not request.attempts:
                request.hedged = False
                self.retries[reason] += 1
                self._waiting.appendleft(request)

    def _eject(self, replica: Replica, stream: Stream, batch: Batch, wrong: WrongDigest) -> None:
        """Send no more batches to a replica, and retry elsewhere all that is outstanding there."""
        about = {"replica": replica.name, "stream": stream.number, "batch": batch.id, **wrong._asdict()}
        self._note(EJECTED, **about)
        self.picker.eject(replica)
        for each in replica.streams:
            self._retry(each, "wrong_digest", "wrong digest")
        self._changed()

    # Streams and endpoints that come and go.

    async def _keep_stream(self, endpoint: Endpoint) -> None:
        """Have one stream open, again after each break, until its endpoint leaves."""
        backoff = Backoff()
        while not endpoint.left.is_set():
            stream = Stream(endpoint, self._stage, self._method)
            endpoint.streams.add(stream)
            broken = None
            try:
                await stream.run(self._join, self._complete)
            except StreamBroken as error:
                broken = error
            finally:
                endpoint.streams.remove(stream)
                self._end(stream, broken)
            if stream.worked:
                backoff.reset()
            await sleep_unless(endpoint.left, backoff.slowest() if broken and broken.is_permanent else backoff.pause())

    def _join(self, stream: Stream) -> None:
        stream.endpoint.name = stream.replica
        self.picker.add(stream, self._loop.time())
        self._changed()

    def _end(self, stream: Stream, broken: StreamBroken | None) -> None:
        """Retry what is outstanding on a stream, unless that was done when its replica was ejected."""
        if broken is not None:
            stream.endpoint.cause = str(broken)
            self.errors[broken.code.name] += 1
            about: dict[str, Any] = {"replica": stream.replica, "stream": stream.number, "code": broken.code.name}
            about |= {"details": broken.details, "outstanding": len(stream.outstanding)}
            self._note(REFUSED if broken.is_permanent else "stream broken", **about)
        if stream.replica:
            self._lost_at = self._loop.time()
            if not self.picker.remove(stream, self._lost_at).ejected:
                self._retry(stream, "broken", str(broken))
        self._changed()

    def _changed(self) -> None:
        """Have an endpoint at each wanted address, drain those that left if others serve, and send what waits."""
        for target in self._endpoints.keys() - self._wanted:
            self._endpoints.pop(target).leave()
        for target in self._wanted:
            before = self._endpoints.get(target)
            if before is None or before.left.is_set():
                self._open_endpoint(target, before)
        ejected = self.picker.ejected
        others_serve = any(each.serving and each.name not in ejected for each in self._open)
        for endpoint in self._open:
            if endpoint.may_drain and (others_serve or endpoint.stopping or endpoint.name in ejected):
                for stream in endpoint.streams:
                    self.picker.drain(stream)
                    stream.half_close()
        self._dispatch(self._loop.time())
        self._update_states()

    def _open_endpoint(self, target: str, before: Endpoint | None) -> None:
        """Open an endpoint in place of the one before, which has left, or of none."""
        address = target.partition(":")[2]
        endpoint = self._endpoints[target] = Endpoint(
            address,
            open_channel(target, self._stage.service, self._certificates, authority=self._resolver.authority),
            None if self._certificates is None else self._certificates.latest,
            self._keep_stream,
            self._changed,
            name=address[:MAX_NAME] if before is None else before.name,
            cause="" if before is None else before.cause,
        )
        pause = 0.0 if before is None else RECONNECTION_DELAY_S
        if is_untrusted(endpoint.cause):
            self._note(UNTRUSTED, target=self._resolver.target, details=endpoint.cause)
            pause = LAST
        self._open[endpoint] = self._tasks.create_task(endpoint.run(pause))
        self._open[endpoint].add_done_callback(lambda _: self._open.pop(endpoint))

    def _update_states(self) -> None:
        now = self._loop.time()
        if self._names != (names := self.replicas):
            self._names = names
            self._note(ENDPOINTS, count=len(names), names=" ".join(names))
        connecting = {each.name: each.address for each in self._endpoints.values() if not each.serving}
        if self.picker.update(now, slow_before=now - self._hedging.delay, connecting=connecting):
            self._on_change()

    async def run(self) -> None:
        """Find endpoints and keep batches going until cancelled; then end the streams, within CLOSE_LIMIT_S.

        Raises what was raised while a response was received, which is a defect, in an ExceptionGroup.
        """
        async with self._tasks:
            checking = self._tasks.create_task(self._check())
            try:
                await self._follow()
            finally:
                checking.cancel()
                await self._close()

    async def _close(self) -> None:
        self._wanted = set()
        for endpoint in self._open:
            endpoint.stopping = True
        self._changed()
        if self._open:
            await asyncio.wait(self._open.values(), timeout=CLOSE_LIMIT_S)
        for line in self._lines.values():
            line.close()

    async def _follow(self) -> None:
        """Look the target up again and again. A look-up that fails or finds nothing changes nothing."""
        failing_since = float("inf")
        while True:
            began = self._loop.time()
            found = set(await self._resolver.resolve())
            failure = self._resolver.failure
            failing_since = min(failing_since, began) if failure else float("inf")
            if failure and (found or began - failing_since > ABSENCE_LIMIT_S):
                self._note(LOOKUP_FAILED, target=self._resolver.target, details=failure)
            if found and failure:
                found |= {target for target, endpoint in self._endpoints.items() if endpoint.serving}
            if found:
                self._wanted = self._select(found, began)
            self._renew_certificates(began)
            self._changed()
            is_fast = not self._names or began - self._lost_at < FAST_LOOKUP_TIME_S
            interval = FAST_LOOKUP_INTERVAL_S if is_fast else LOOKUP_INTERVAL_S
            interval *= random.uniform(1 - LOOKUP_JITTER, 1)  # noqa: S311 - jitter is no secret
            await asyncio.sleep(began + interval - self._loop.time())

    def _select(self, found: set[str], now: float) -> set[str]:
        """Choose all, or as many as there may be: those that are used, of which one is exchanged now and then."""
        kept, others = sorted(found & self._wanted), sorted(found - self._wanted)
        most_kept = self._max_endpoints
        if len(found) > self._max_endpoints and now >= self._exchange_at:
            self._exchange_at = now + EXCHANGE_INTERVAL_S
            most_kept -= 1
        kept = random.sample(kept, min(len(kept), most_kept))
        return {*kept, *random.sample(others, min(len(others), self._max_endpoints - len(kept)))}

    def _renew_certificates(self, now: float) -> None:
        """Let endpoints leave whose certificates were renewed on disk, one after the other."""
        if self._certificates is not None and now >= self._renew_at:
            self._certificates.check()
            for endpoint in self._endpoints.values():
                if endpoint.certificates is not self._certificates.latest:
                    endpoint.leave()
                    self._renew_at = now + RENEWAL_INTERVAL_S
                    break

    # What is slow, silent or absent.

    async def _check(self) -> None:
        while True:
            began = self._loop.time()
            oldest = min((stream.oldest for stream in self._streams()), default=began) if self._requests else began
            due = min(max(oldest + self._hedging.delay, began + CHECK_INTERVAL_S), began + MIN_HEDGING_DELAY_S)
            await asyncio.sleep(due - began)
            now = self._loop.time()
            if self._requests and now - due < CHECK_INTERVAL_S:
                self._hedge(now)
                self._replace_silent(now)
            # Otherwise nothing but streams and look-ups changes a state.
            if self._requests:
                self._update_states()
            for line in self._lines.values():
                line.flush()
            if self._names:
                self._serving_at = now
            elif now - self._serving_at > ABSENCE_LIMIT_S:
                self._log_absence(now)

    def _hedge(self, now: float) -> None:
        """Send what is over the hedging delay to a second replica, as far as the budget goes, and log the rest."""
        waiting: list[dict[str, Any]] = []
        for stream in self._streams():
            replica = self.picker.replicas[stream.replica]
            for attempt in stream.outstanding.values():
                request = self._requests.get(attempt.batch.id)
                if now - attempt.sent_at < self._hedging.delay or request is None or replica.ejected:
                    continue
                replica.slow += not attempt.slow
                attempt.slow = True
                if request.hedged:
                    continue
                about: dict[str, Any] = {"batch": attempt.batch.id, "replica": stream.replica, "stream": stream.number}
                second = self.picker.pick(stream.replica)
                if second is None or second.replica == stream.replica or not self._hedging.spend():
                    waiting.append({**about, "seconds": round(now - attempt.sent_at, 1)})
                    continue
                self._note("over the hedging delay, sent to a second replica", **about, second=second.replica)
                self.hedges += 1
                request.hedged = True
                self._send(second, request, now, HEDGE)
        if waiting and now >= self._silent_until["slow"]:
            self._silent_until["slow"] = now + REPEAT_S
            log.get(to=self._stage.name).warning("no response yet", **waiting[0], batches=len(waiting))

    def _streams(self) -> list[Stream]:
        """Those that have joined."""
        return [stream for replica in self.picker.replicas.values() for stream in replica.streams]

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
        """Log why no replica takes batches."""
        seconds = now - self._serving_at
        details = self._resolver.failure
        if self.picker.ejected:
            details = f"{' '.join(self.picker.ejected)}: wrong digests, not used until restarted"
        elif self._endpoints:
            details = random.choice(list(self._endpoints.values())).cause  # noqa: S311 - no secret
        if now >= self._silent_until["absent"] and (details or seconds > UNKNOWN_ABSENCE_LIMIT_S):
            self._silent_until["absent"] = now + REPEAT_S
            details = details or "still connecting, or looking up the name"
            line = log.get(to=self._stage.name, target=self._resolver.target)
            line.warning("no endpoint, still trying", seconds=round(seconds, 1), details=details)

    def _note(self, event: str, **fields: Any) -> None:
        if event not in self._lines:
            level, interval_s = LINES.get(event, ("warning", 1.0))
            self._lines[event] = ThrottledLogger(event, interval_s, level, to=self._stage.name)
        self._lines[event].log(**fields)
