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
from typing import Any

from chassis import log
from chassis.batch_limits import MAX_BATCHES
from chassis.grpc_client import InstrumentedMethod, is_untrusted, open_channel
from chassis.grpc_options import MAX_NAME
from chassis.log import ThrottledLogger
from chassis.redis.schema import AnnotationKind, ReplicaState
from chassis.telemetry.metrics import LatencyHistogram
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.timing import sleep_unless
from chassis.tls import RenewedCertificates
from worker_svc.batch import Batch
from worker_svc.changes import Changes
from worker_svc.pool.endpoint import Attempt, Endpoint, Stream, StreamBroken
from worker_svc.pool.picker import Picker
from worker_svc.pool.resolver import Resolver
from worker_svc.replica import Replica
from worker_svc.retry import MAX_BACKOFF_S, MIN_HEDGING_DELAY_S, Backoff, Hedging, Reason
from worker_svc.stage import Stage, WrongDigest

LOOKUP_INTERVAL_S = 1.0
# While no endpoint serves, for a while after one was lost, so that a rolling restart leaves none alone, and for a file,
# which takes no query.
FAST_LOOKUP_INTERVAL_S = 0.25
FAST_LOOKUP_TIME_S = 10.0
# While there are no batches, since a look-up of 64 addresses takes 1.4 ms of CPU. The next batch ends it, as does a
# stream's end.
IDLE_LOOKUP_INTERVAL_S = 20.0
LOOKUP_JITTER = 0.1

# The interval at which an endpoint is replaced that need not be: after a renewal of certificates, and where there are
# more addresses than MAX_ENDPOINTS. The replacement serves before the next endpoint drains.
EXCHANGE_INTERVAL_S = 2.0

# The delay before a lost connection is replaced.
RECONNECTION_DELAY_S = 0.25

# Replicas that join so soon after the first one were there before.
START_S = 3.0

# How long run() waits for streams to end once it is cancelled.
CLOSE_LIMIT_S = 0.3

# The shortest interval between checks for overdue batches. A check that is later than this is skipped: this process was
# held up itself, and has responses that it has not read.
CHECK_INTERVAL_S = 0.1

# A stream without a response for this long is aborted; after OVERTAKEN_LIMIT_S already if its endpoint has completed
# newer batches on another stream.
SILENCE_LIMIT_S = 30.0
OVERTAKEN_LIMIT_S = 2.0
OVERTAKEN_FACTOR = 2.0

# The interval at which changes of replicas are logged, and the most names in a line.
LOG_INTERVAL_S = 1.0
MAX_LISTED = 8
# No endpoint and no answer of DNS for up to this time are normal at a start or restart, and are not logged.
ABSENCE_LIMIT_S = 3.0


@dataclass(slots=True, eq=False)
class Request:
    """One stage of a batch, until its first response."""

    batch: Batch
    submitted_at: float
    on_response: Callable[[memoryview], None]
    # The replica of the last attempt.
    replica: str = ""
    # The number of outstanding attempts: none while it is queued, two while it is hedged.
    attempts: int = 0
    # Why its next attempt, or the last one, is not the first.
    reason: Reason | None = None


class _Loggers:
    """The loggers of a pool, each for one event."""

    def __init__(self, to: str) -> None:
        self.broken = ThrottledLogger("stream broken", 1.0, to=to)
        self.refused = ThrottledLogger("stream refused, retrying with maximum backoff", 5.0, "error", to=to)
        self.untrusted = ThrottledLogger(
            "certificate not accepted, retrying with maximum backoff", level="error", to=to
        )
        self.ejected = ThrottledLogger("wrong digest, replica ejected", 1.0, "error", to=to)
        self.hedged = ThrottledLogger("over the hedging delay, sent to a second replica", 1.0, to=to)
        self.waiting = ThrottledLogger("no response yet", to=to)
        self.absent = ThrottledLogger("no endpoint, still trying", to=to)
        self.lookup_failed = ThrottledLogger("look-up failed, keeping the addresses that are known", 60.0, to=to)

    @property
    def all(self) -> list[ThrottledLogger]:
        return list(vars(self).values())


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
        max_batches: int = MAX_BATCHES,
        metrics: RpcMetrics,
        on_change: Callable[[], None],
        changes: Changes | None = None,
        certificates: RenewedCertificates | None = None,
    ) -> None:
        """Share `window` batches between at most `max_endpoints`, which run() finds.

        A message carries at most `max_batches`. Counts streams in `metrics`, calls `on_change` when the state of a
        replica has changed, and adds what it notices of replicas to `changes`.
        """
        # Broken streams, by gRPC code.
        self.errors: Counter[str] = Counter()
        # Batches sent again because the attempt before ended without a valid response, by reason.
        self.retries = Counter({Reason.BROKEN: 0, Reason.WRONG_DIGEST: 0})
        self.hedges = 0
        # Seconds from send() to the response, of all batches.
        self.latency = LatencyHistogram()
        self.picker = Picker(window)
        self._stage = stage
        self._max_endpoints = max_endpoints
        self._max_batches = max_batches
        self._method = InstrumentedMethod(stage.path, metrics, client_id)
        self._on_change = on_change
        self._changes = changes or Changes()
        self._certificates = certificates
        self._resolver = Resolver(target)
        self._hedging = Hedging(window)
        self._loop = asyncio.get_running_loop()
        self._tasks = asyncio.TaskGroup()
        self._loggers = _Loggers(to=stage.name)
        # Those without a response by batch id, the oldest first; and those of them without an attempt.
        self._requests: dict[int, Request] = {}
        self._queue: deque[Request] = deque()
        # The targets that the name has, of one address each; the current endpoint of each that is used; and the tasks
        # of all open endpoints, including those that drain.
        self._found: set[str] = set()
        self._endpoints: dict[str, Endpoint] = {}
        self._open: dict[Endpoint, asyncio.Task[None]] = {}
        self._exchange_at = self._loop.time() + EXCHANGE_INTERVAL_S
        # When the first replica joined, and when a stream ended last.
        self._joined_at = float("inf")
        self._lost_at = float("-inf")
        # Cleared while the pool is idle: nothing wakes it but a batch, and a stream that joins or ends.
        self._busy = asyncio.Event()
        self._busy.set()

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
        oldest = next((request.submitted_at for request in self._requests.values()), float("inf"))
        return not self.replicas or self._loop.time() - oldest > self._hedging.delay

    @property
    def _is_subset(self) -> bool:
        """Whether there are more addresses than are used, so that replicas join and leave by exchange."""
        return len(self._found) > self._max_endpoints

    @property
    def resent(self) -> int:
        """Attempts beyond the first, for all reasons."""
        return self.retries.total() + self.hedges

    # The path of a batch: send, complete; or retry, hedge, eject.

    def send(self, batch: Batch, on_response: Callable[[memoryview], None]) -> None:
        """Send a batch once a stream has room, and pass on its response's payload, however many attempts that takes."""
        now = self._loop.time()
        request = self._requests[batch.id] = Request(batch, now, on_response)
        if batch.trace is not None:
            batch.trace.submitted(self._stage.name, self._stage.path)
        self._busy.set()
        self._queue.append(request)
        self._dispatch(now)

    def _dispatch(self, now: float) -> None:
        while self._queue and (stream := self.picker.pick(self._queue[0].replica)) is not None:
            self._send(stream, self._queue.popleft(), now)

    def _send(self, stream: Stream, request: Request, now: float) -> None:
        self.picker.sent(stream, now)
        if request.batch.trace is not None:
            request.batch.trace.sent(self._stage.name, stream.replica, request.reason)
        request.replica = stream.replica
        request.attempts += 1
        # A batch that is retried travels alone, so that it makes no other fail if it is invalid; a hedged one travels
        # alone so that it waits for no other.
        stream.send(request.batch, now, alone=request.reason is not None)

    def _complete(self, stream: Stream, attempt: Attempt, payload: memoryview) -> None:
        """Pass the response on, unless another attempt was faster, and send a batch that waits."""
        batch = attempt.batch
        replica = self.picker.replicas[stream.replica]
        request = None if replica.ejected else self._requests.get(batch.id)
        if request is not None and (wrong := self._stage.wrong_digest(batch, payload)) is not None:
            self._eject(replica, stream, batch, wrong)
            request = None
        del stream.outstanding[batch.id]
        now = self._loop.time()
        replica.account(now, -1)
        if request is not None:
            del self._requests[batch.id]
            latency = now - attempt.sent_at if request.attempts == 1 else None
            replica.observe(latency, attempt.sent_at, batch.count)
            self.latency.observe(now - request.submitted_at)
            if batch.trace is not None:
                batch.trace.completed(self._stage.name, stream.replica)
        if self._queue:
            self._dispatch(now)
        if request is not None:
            request.on_response(payload)

    def _retry(self, stream: Stream, reason: Reason, cause: str, *, refused: bool = False) -> None:
        """Retry what is outstanding on a stream and on no other, before anything newer.

        Streams are served in order, so the oldest batch of one that was refused, or one in its message, is the invalid
        one. It goes last, or it would be refused before the others again and again.
        """
        oldest = next(iter(stream.outstanding), None)
        for batch_id in reversed(stream.outstanding):
            if (request := self._requests.get(batch_id)) is None:
                continue
            request.attempts -= 1
            request.reason = reason
            if request.batch.trace is not None:
                request.batch.trace.broken(self._stage.name, stream.replica, cause)
            if not request.attempts:
                self.retries[reason] += 1
                if reason is Reason.BROKEN:
                    self._note(AnnotationKind.RETRIED, stream.replica, count=1)
                if refused and batch_id == oldest:
                    self._queue.append(request)
                else:
                    self._queue.appendleft(request)

    def _eject(self, replica: Replica, stream: Stream, batch: Batch, wrong: WrongDigest) -> None:
        """Send no more batches to a replica, and retry elsewhere all that is outstanding there."""
        about = {"replica": replica.name, "stream": stream.number, "batch": batch.id, **wrong._asdict()}
        self._loggers.ejected.log(**about)
        self.picker.eject(replica)
        self._note(AnnotationKind.EJECTED, replica.name, count=1)
        for each in replica.streams:
            self._retry(each, Reason.WRONG_DIGEST, "wrong digest")
        self._reconcile()

    # Streams and endpoints that come and go.

    async def _keep_stream(self, endpoint: Endpoint) -> None:
        """Keep one stream open, and reopen it after each failure, until its endpoint leaves."""
        backoff = Backoff()
        while not endpoint.left.is_set():
            stream = Stream(endpoint, self._stage, self._method, self._max_batches)
            endpoint.streams.add(stream)
            broken = None
            try:
                await stream.run(self._join, self._complete)
            except StreamBroken as error:
                broken = error
            finally:
                endpoint.streams.remove(stream)
                self._end(stream, broken)
            if stream.has_completed:
                backoff.reset()
            is_permanent = broken is not None and broken.is_permanent
            await sleep_unless(endpoint.left, MAX_BACKOFF_S if is_permanent else backoff.next_delay())

    def _join(self, stream: Stream) -> None:
        now = self._loop.time()
        stream.endpoint.name = stream.replica
        self._joined_at = min(self._joined_at, now)
        if self.picker.add(stream, now) and now - self._joined_at > START_S and not self._is_subset:
            self._note(AnnotationKind.JOINED, stream.replica)
        self._loggers.refused.clear()
        self._loggers.untrusted.clear()
        self._busy.set()
        self._reconcile()

    def _end(self, stream: Stream, broken: StreamBroken | None) -> None:
        """Retry what is outstanding on a stream, unless that was done when its replica was ejected."""
        if broken is not None:
            stream.endpoint.cause = str(broken)
            self.errors[broken.code.name] += 1
            about: dict[str, Any] = {"replica": stream.replica, "stream": stream.number, "code": broken.code.name}
            about |= {"details": broken.details, "outstanding": len(stream.outstanding)}
            if broken.is_permanent:
                self._loggers.refused.log(**about)
            else:  # all streams of a connection break together
                self._loggers.broken.hold_back(**about)
        if stream.replica:
            self._lost_at = self._loop.time()
            replica = self.picker.remove(stream, self._lost_at)
            if not replica.streams and not self._is_subset:
                self._note(AnnotationKind.LEFT if broken is None else AnnotationKind.LOST, stream.replica)
            if not replica.ejected:
                self._retry(stream, Reason.BROKEN, str(broken), refused=broken is not None and broken.is_permanent)
        self._busy.set()
        self._reconcile()

    def _reconcile(self) -> None:
        """Open endpoints for the addresses found, drain those that left if others serve, and send queued batches."""
        for target in self._endpoints.keys() - self._found:
            self._endpoints.pop(target).leave()
        for target, endpoint in self._endpoints.items():
            if endpoint.left.is_set():
                self._open_endpoint(target, endpoint)
        unused = sorted(self._found - self._endpoints.keys())
        for target in random.sample(unused, min(len(unused), self._max_endpoints - len(self._endpoints))):
            self._open_endpoint(target, None)
        ejected = self.picker.ejected
        others_serve = any(each.serving and each.name not in ejected for each in self._open)
        is_closing = not self._found
        for endpoint in self._open:
            if endpoint.may_drain and (others_serve or is_closing or endpoint.must_drain or endpoint.name in ejected):
                for stream in endpoint.streams:
                    self.picker.drain(stream)
                    stream.half_close()
        now = self._loop.time()
        self._dispatch(now)
        connecting = {each.name: each.address for each in self._endpoints.values() if not each.serving}
        if self.picker.replicas.update_states(now, connecting):
            self._on_change()

    def _exchange(self, now: float) -> None:
        """Replace one endpoint whose certificates were renewed or, where not all addresses are used, any."""
        latest = None if self._certificates is None else self._certificates.check()
        old = [target for target, each in self._endpoints.items() if each.certificates is not latest]
        unused = sorted(self._found - self._endpoints.keys())
        if now >= self._exchange_at and (old or unused):
            self._exchange_at = now + EXCHANGE_INTERVAL_S
            target = random.choice(old or [*self._endpoints])  # noqa: S311 - no secret
            self._endpoints[target].leave()
            if unused:
                del self._endpoints[target]
                self._open_endpoint(random.choice(unused), None)  # noqa: S311 - no secret
            self._reconcile()

    def _open_endpoint(self, target: str, before: Endpoint | None) -> None:
        """Open an endpoint. It replaces the one before, if there is one, which has left."""
        address = target.partition(":")[2]
        endpoint = self._endpoints[target] = Endpoint(
            address,
            open_channel(target, self._stage.service, self._certificates, authority=self._resolver.authority),
            None if self._certificates is None else self._certificates.latest,
            self._keep_stream,
            self._reconcile,
            name=address[:MAX_NAME] if before is None else before.name,
            cause="" if before is None else before.cause,
        )
        pause = 0.0 if before is None else RECONNECTION_DELAY_S
        if is_untrusted(endpoint.cause):
            self._loggers.untrusted.log(target=self._resolver.target, details=endpoint.cause)
            pause = MAX_BACKOFF_S
        self._open[endpoint] = self._tasks.create_task(endpoint.run(pause))
        self._open[endpoint].add_done_callback(lambda _: self._open.pop(endpoint))

    def _note(self, kind: AnnotationKind, replica: str, count: int = 0, to: str = "") -> None:
        self._changes.add(kind, self._stage.name, replica, self._loop.time(), count=count, to=to)

    # What runs all the time: look-ups, checks, logging.

    async def run(self) -> None:
        """Find endpoints and keep batches going until cancelled; then end the streams, within CLOSE_LIMIT_S.

        Raises what was raised while a response was received, which is a defect, in an ExceptionGroup.
        """
        async with self._tasks:
            beside = [self._tasks.create_task(each) for each in (self._check(), self._log())]
            try:
                await self._resolve_periodically()
            finally:
                for task in beside:
                    task.cancel()
                await self._close()

    async def _close(self) -> None:
        self._found = set()
        self._reconcile()
        if self._open:
            await asyncio.wait(self._open.values(), timeout=CLOSE_LIMIT_S)
        for logger in self._loggers.all:
            logger.close()

    async def _resolve_periodically(self) -> None:
        """Look the target up again and again. A look-up that fails or finds nothing changes nothing."""
        failing_since = float("inf")
        sent = 0
        while True:
            began = self._loop.time()
            found = set(await self._resolver.resolve())
            failure = self._resolver.failure
            failing_since = min(failing_since, began) if failure else float("inf")
            is_worth_a_line = (found and failure) or began - failing_since > ABSENCE_LIMIT_S
            fields = {"target": self._resolver.target, "details": failure}
            _log_while(self._loggers.lookup_failed, fields if is_worth_a_line else None)
            if found and failure:
                found |= {target for target, endpoint in self._endpoints.items() if endpoint.serving}
            self._found = found or self._found
            self._reconcile()
            self._exchange(began)
            jitter = random.uniform(1 - LOOKUP_JITTER, 1)  # noqa: S311 - jitter is no secret
            is_missing = not self.replicas or began - self._lost_at < FAST_LOOKUP_TIME_S
            is_settled = all(each.state is ReplicaState.SERVING for each in self.picker.replicas.values())
            sent_before, sent = sent, self._method.counts.sent
            if is_missing or not is_settled or self._requests or sent > sent_before:
                is_fast = is_missing or self._resolver.file is not None
                await asyncio.sleep((FAST_LOOKUP_INTERVAL_S if is_fast else LOOKUP_INTERVAL_S) * jitter)
            else:
                self._busy.clear()
                await sleep_unless(self._busy, IDLE_LOOKUP_INTERVAL_S * jitter)

    async def _check(self) -> None:
        """Hedge batches that are overdue, and abort streams that are silent."""
        while True:
            await self._busy.wait()
            now = self._loop.time()
            oldest = min((stream.oldest_sent_at for stream in self._streams()), default=now)
            due = min(max(oldest + self._hedging.delay, now + CHECK_INTERVAL_S), now + MIN_HEDGING_DELAY_S)
            await asyncio.sleep(due - now)
            now = self._loop.time()
            self._hedging.update([each.usual for each in self.picker.replicas.values() if each.streams], now)
            if now - due < CHECK_INTERVAL_S:
                self._hedge(now)
                self._abort_silent(now)

    def _hedge(self, now: float) -> None:
        """Send batches over the hedging delay to a second replica, as far as the budget allows, and log the others."""
        waiting: list[dict[str, Any]] = []
        for stream in self._streams():
            replica = self.picker.replicas[stream.replica]
            for attempt in stream.outstanding.values():
                request = self._requests.get(attempt.batch.id)
                if now - attempt.sent_at < self._hedging.delay or request is None or replica.ejected:
                    continue
                is_new, attempt.overdue = not attempt.overdue, True
                replica.overdue += is_new
                if request.attempts > 1:
                    continue
                about: dict[str, Any] = {"batch": attempt.batch.id, "replica": stream.replica, "stream": stream.number}
                second = self.picker.pick(stream.replica)
                if second is not None and second.replica == stream.replica:
                    second = None
                if second is None or not self._hedging.take_token():
                    waiting.append({**about, "seconds": round(now - attempt.sent_at, 1)})
                    if second is not None and is_new:
                        self._note(AnnotationKind.SLOW, stream.replica)
                    continue
                self._loggers.hedged.log(**about, second=second.replica)
                self.hedges += 1
                self._note(AnnotationKind.SLOW, stream.replica, count=1, to=second.replica)
                request.reason = Reason.OVERDUE
                self._send(second, request, now)
        _log_while(self._loggers.waiting, {**waiting[0], "batches": len(waiting)} if waiting else None)

    def _streams(self) -> list[Stream]:
        """Return the streams that have joined."""
        return [stream for replica in self.picker.replicas.values() for stream in replica.streams]

    def _abort_silent(self, now: float) -> None:
        """Abort streams that stay silent although their server completes newer batches on others, or for very long."""
        overtaken_limit = max(OVERTAKEN_LIMIT_S, OVERTAKEN_FACTOR * self._hedging.delay)
        for stream in [stream for endpoint in self._open for stream in endpoint.streams]:
            if (silent := now - stream.oldest_sent_at) <= overtaken_limit:
                continue
            others = stream.endpoint.streams - {stream}
            if silent > SILENCE_LIMIT_S or any(other.newest_sent_at > stream.oldest_sent_at for other in others):
                stream.abort(f"no response for {silent:.1f} s")
            for other in others:
                if not other.outstanding:
                    other.probe()

    async def _log(self) -> None:
        """Log which replicas take batches after each change, and why none does."""
        logged: list[str] = []
        served_at = self._loop.time()
        while True:
            await self._busy.wait()
            await asyncio.sleep(LOG_INTERVAL_S)
            now, names, name = self._loop.time(), self.replicas, self._stage.name
            if names:
                served_at = now
            if self.picker.ejected:
                cause = f"{' '.join(self.picker.ejected)}: wrong digests, not used until restarted"
            elif self._endpoints:
                cause = random.choice(list(self._endpoints.values())).cause  # noqa: S311 - no secret
            else:
                cause = self._resolver.failure
            details = cause or "still connecting, or looking up the name"
            absent = {"target": self._resolver.target, "seconds": round(now - served_at, 1), "details": details}
            _log_while(self._loggers.absent, absent if now - served_at >= ABSENCE_LIMIT_S else None)
            for logger in self._loggers.all:
                logger.flush()
            if names != logged:
                listed = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
                count = f"{len(names)} {name}{'s' if len(names) > 1 else ''}: {listed}" if names else f"no {name}"
                log.get().info(f"using {count}", figures={"to": name, "count": len(names), "names": names})
                logged = names


def _log_while(logger: ThrottledLogger, fields: dict[str, Any] | None) -> None:
    """Log a condition with its latest fields while it persists, which is while it has fields."""
    logger.clear()
    if fields is not None:
        logger.log(**fields)
