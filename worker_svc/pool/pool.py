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
from chassis.batch_limits import MAX_BATCHES
from chassis.grpc_client import InstrumentedMethod, is_untrusted, open_channel
from chassis.grpc_options import MAX_NAME
from chassis.log import ThrottledLogger
from chassis.redis.schema import AnnotationKind, ReplicaState
from chassis.telemetry.metrics import LatencyHistogram
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.timing import sleep_unless
from chassis.tls import RenewedCertificates
from worker_svc.backoff import MAX_BACKOFF_S, Backoff
from worker_svc.batch import HEDGE, Batch
from worker_svc.changes import Changes, Noticed
from worker_svc.pool.endpoint import Attempt, Endpoint, Stream, StreamBroken
from worker_svc.pool.picker import Picker
from worker_svc.pool.resolver import Resolver
from worker_svc.replica import Replica
from worker_svc.stage import Stage, WrongDigest

LOOKUP_INTERVAL_S = 1.0
LOOKUP_JITTER = 0.1

# While no endpoint serves, for a while after one was lost, so that a rolling restart leaves none alone, and for a file,
# which takes no query.
FAST_LOOKUP_INTERVAL_S = 0.25
FAST_LOOKUP_TIME_S = 10.0

# The interval of look-ups and checks in an idle pool, since a look-up of 64 addresses takes 2 ms of CPU. The next batch
# ends it, as does a stream's end.
IDLE_INTERVAL_S = 10.0
IDLE_AFTER_S = 10.0

# With more addresses than MAX_ENDPOINTS, the pool uses a random subset and replaces one of it at this interval.
SUBSET_REFRESH_INTERVAL_S = 5.0

# The interval between checks for slow batches. A check that is later than this is skipped: this process was held up
# itself, and has responses that it has not read.
CHECK_INTERVAL_S = 0.1
# The interval while there are no batches.
EMPTY_CHECK_INTERVAL_S = 1.0

# A stream without a response for this long is aborted; after OVERTAKEN_LIMIT_S already if its endpoint has completed
# newer batches on another stream.
SILENCE_LIMIT_S = 30.0
OVERTAKEN_LIMIT_S = 2.0
OVERTAKEN_FACTOR = 2.0

# Hedged requests, of which the first response wins: Dean and Barroso, "The Tail at Scale", Communications of the ACM
# 56(2), 2013. A batch is hedged after this many times the usual latency.
HEDGING_DELAY_FACTOR = 4.0
# Shorter than the 2 to 7 s in which gRPC notices a frozen peer, longer than a busy machine's hiccups.
MIN_HEDGING_DELAY_S = 0.5
# The delay before the first response, when the usual latency is unknown.
INITIAL_HEDGING_DELAY_S = 3.0
# The part of all batches that may be hedged. On an overloaded service all are slow, and hedging would double the load.
HEDGING_RATIO = 0.05
# The weight of the newest latency in the usual one.
LATENCY_WEIGHT = 1 / 32

# The interval at which endpoints are replaced after a renewal of certificates: a replacement serves before the next
# endpoint drains.
RENEWAL_INTERVAL_S = 1.0

# Replicas that join so soon after the first one were there before.
START_S = 3.0

# The delay before a lost connection is replaced.
RECONNECTION_DELAY_S = 0.25

# How long run() waits for streams to end once it is cancelled.
CLOSE_LIMIT_S = 0.3

# No endpoint for up to this time is normal at a start or restart, and is not logged.
ABSENCE_LIMIT_S = 3.0
# The same limit while the cause is unknown: a connection attempt may be under way.
UNKNOWN_ABSENCE_LIMIT_S = 4.0
# The interval at which a persistent condition is logged.
REPEAT_S = 5.0
# The interval at which changes of replicas are logged, and the most names in a line.
CHANGES_INTERVAL_S = 1.0
MAX_LISTED = 8

BROKEN = "stream broken"
REFUSED = "stream refused, retrying with maximum backoff"
EJECTED = "wrong digest, replica ejected"
UNTRUSTED = "certificate not accepted, retrying with maximum backoff"
LOOKUP_FAILED = "look-up failed, keeping the addresses that are known"
# The level of each event, and the interval in seconds at which it is logged at most. Other events are warnings, at most
# one per second.
LOG_EVENTS: dict[str, tuple[Literal["info", "warning", "error"], float]] = {
    REFUSED: ("error", 5.0),
    EJECTED: ("error", 1.0),
    UNTRUSTED: ("error", 5.0),
    LOOKUP_FAILED: ("warning", 60.0),
}


class Hedging:
    """The hedging delay, from the usual latency, and the hedging budget, a token bucket."""

    def __init__(self, capacity: int) -> None:
        """Hold at most `capacity` tokens, enough for all batches on one frozen replica. The bucket starts empty."""
        self.capacity = capacity
        self._tokens = 0.0
        self._usual: float | None = None

    @property
    def delay(self) -> float:
        """Seconds without a response after which a batch is slow, and is hedged if the budget allows it."""
        return (
            INITIAL_HEDGING_DELAY_S
            if self._usual is None
            else max(HEDGING_DELAY_FACTOR * self._usual, MIN_HEDGING_DELAY_S)
        )

    def add_token(self) -> None:
        """Add a batch's share of a token to the budget."""
        self._tokens = min(self._tokens + HEDGING_RATIO, float(self.capacity))

    def observe(self, latency: float) -> None:
        """Update the usual latency with that of a batch that was not hedged, in seconds."""
        self._usual = latency if self._usual is None else self._usual + LATENCY_WEIGHT * (latency - self._usual)

    def take_token(self) -> bool:
        """Take a token for one hedge, and return whether there was one."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


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
    hedged: bool = False
    # Why the last attempt failed.
    failure: str = ""


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
        certificates: RenewedCertificates | None = None,
    ) -> None:
        """Share `window` batches between at most `max_endpoints`, which run() finds.

        A message carries at most `max_batches`. Counts streams in `metrics`, and calls `on_change` when the state of a
        replica has changed.
        """
        # Broken streams, by gRPC code.
        self.errors: Counter[str] = Counter()
        # Batches sent again because the attempt before ended without a valid response, by reason.
        self.retries: Counter[str] = Counter(broken=0, wrong_digest=0)
        self.hedges = 0
        # Seconds from send() to the response, of all batches.
        self.latency = LatencyHistogram()
        self.picker = Picker(window)
        # What is noticed of replicas, until it is reported.
        self.changes = Changes()
        self._stage = stage
        self._max_endpoints = max_endpoints
        self._max_batches = max_batches
        self._method = InstrumentedMethod(stage.path, metrics, client_id)
        self._on_change = on_change
        self._certificates = certificates
        self._resolver = Resolver(target)
        self._hedging = Hedging(window)
        self._loop = asyncio.get_running_loop()
        self._tasks = asyncio.TaskGroup()
        self._requests: dict[int, Request] = {}
        self._submitted_at = self._loop.time()
        # Ends a pause of an idle pool.
        self._wake = asyncio.Event()
        self._queue: deque[Request] = deque()
        # The resolved targets that are used, of one address each.
        self._resolved: set[str] = set()
        # Whether they are a subset, and when the first replica joined; the replicas that are slow.
        self._is_subset = False
        self._joined_at: float | None = None
        self._slow: set[str] = set()
        # The current endpoint of each target; and the tasks of all open endpoints, including those that drain.
        self._endpoints: dict[str, Endpoint] = {}
        self._open: dict[Endpoint, asyncio.Task[None]] = {}
        self._refresh_subset_at = self._renew_at = 0.0
        # The replicas that take batches; the last moment at which there was one; and when a stream ended last.
        self._names: list[str] = []
        self._serving_at = self._loop.time()
        self._lost_at = float("-inf")
        self._loggers: dict[str, ThrottledLogger] = {}
        self._silent_until = {"slow": 0.0, "absent": 0.0, "changes": 0.0}
        # The replicas in the last line about them.
        self._logged_names: list[str] = []

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
    def _idle(self) -> bool:
        """Whether endpoints serve, there were no batches for a while, and no stream has ended."""
        busy_at = max(self._submitted_at, self._lost_at)
        return bool(self._names) and not self._requests and self._loop.time() - busy_at > IDLE_AFTER_S

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
        self._submitted_at = now
        self._wake.set()
        self._hedging.add_token()
        self._queue.append(request)
        self._dispatch(now)

    def _dispatch(self, now: float) -> None:
        while self._queue and (stream := self.picker.pick(self._queue[0].replica)) is not None:
            request = self._queue.popleft()
            self._send(stream, request, now, request.failure)

    def _send(self, stream: Stream, request: Request, now: float, reason: str) -> None:
        self.picker.sent(stream, now)
        if request.batch.trace is not None:
            request.batch.trace.sent(self._stage.name, stream.replica, reason)
        request.replica = stream.replica
        request.attempts += 1
        # What has failed fails alone, and what is late does not wait for others.
        stream.send(request.batch, now, alone=bool(reason))

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
            self.latency.observe(now - request.submitted_at)
            latency = None if request.hedged else now - attempt.sent_at
            if latency is not None:
                self._hedging.observe(latency)
            replica.observe(latency, attempt.sent_at, batch.count)
            if batch.trace is not None:
                batch.trace.completed(self._stage.name, stream.replica)
        if self._queue:
            self._dispatch(now)
        if request is not None:
            request.on_response(payload)

    def _retry(self, stream: Stream, reason: str, cause: str, *, refused: bool = False) -> None:
        """Retry what is outstanding on a stream and on no other, before anything newer.

        Streams are served in order, so the oldest batch of one that was refused, or one in its message, is the invalid
        one. It goes last, or it would be refused before the others again and again.
        """
        oldest = next(iter(stream.outstanding), None)
        for batch_id in reversed(stream.outstanding):
            if (request := self._requests.get(batch_id)) is None:
                continue
            request.attempts -= 1
            request.hedged = False
            request.failure = reason
            if request.batch.trace is not None:
                request.batch.trace.broken(self._stage.name, stream.replica, cause)
            if not request.attempts:
                self.retries[reason] += 1
                if reason == "broken":
                    self._note(AnnotationKind.RETRIED, stream.replica, count=1)
                if refused and batch_id == oldest:
                    self._queue.append(request)
                else:
                    self._queue.appendleft(request)

    def _eject(self, replica: Replica, stream: Stream, batch: Batch, wrong: WrongDigest) -> None:
        """Send no more batches to a replica, and retry elsewhere all that is outstanding there."""
        about = {"replica": replica.name, "stream": stream.number, "batch": batch.id, **wrong._asdict()}
        self._log(EJECTED, **about)
        self.picker.eject(replica)
        self._note(AnnotationKind.EJECTED, replica.name, count=1)
        for each in replica.streams:
            self._retry(each, "wrong_digest", "wrong digest")
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
            await sleep_unless(
                endpoint.left, backoff.maximum() if broken and broken.is_permanent else backoff.next_delay()
            )

    def _join(self, stream: Stream) -> None:
        now = self._loop.time()
        stream.endpoint.name = stream.replica
        if self._joined_at is None:
            self._joined_at = now
        replica = self.picker.replicas.get(stream.replica)
        if now - self._joined_at > START_S and not self._is_subset and not (replica and replica.streams):
            self._note(AnnotationKind.JOINED, stream.replica)
        self.picker.add(stream, now)
        self._forget(REFUSED, UNTRUSTED)
        self._reconcile()

    def _end(self, stream: Stream, broken: StreamBroken | None) -> None:
        """Retry what is outstanding on a stream, unless that was done when its replica was ejected."""
        if broken is not None:
            stream.endpoint.cause = str(broken)
            self.errors[broken.code.name] += 1
            about: dict[str, Any] = {"replica": stream.replica, "stream": stream.number, "code": broken.code.name}
            about |= {"details": broken.details, "outstanding": len(stream.outstanding)}
            self._log(REFUSED if broken.is_permanent else BROKEN, **about)
        if stream.replica:
            self._lost_at = self._loop.time()
            self._wake.set()
            replica = self.picker.remove(stream, self._lost_at)
            if not replica.streams and not self._is_subset:
                self._note(AnnotationKind.LEFT if broken is None else AnnotationKind.LOST, stream.replica)
            if not replica.ejected:
                self._retry(stream, "broken", str(broken), refused=broken is not None and broken.is_permanent)
        self._reconcile()

    def _reconcile(self) -> None:
        """Open an endpoint for each resolved address, drain those that left if others serve, send queued batches."""
        for target in self._endpoints.keys() - self._resolved:
            self._endpoints.pop(target).leave()
        for target in self._resolved:
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
            self._log(UNTRUSTED, target=self._resolver.target, details=endpoint.cause)
            pause = MAX_BACKOFF_S
        self._open[endpoint] = self._tasks.create_task(endpoint.run(pause))
        self._open[endpoint].add_done_callback(lambda _: self._open.pop(endpoint))

    def _update_states(self) -> None:
        now = self._loop.time()
        self._names = self.replicas
        connecting = {each.name: each.address for each in self._endpoints.values() if not each.serving}
        if self.picker.replicas.update_states(now, slow_before=now - self._hedging.delay, connecting=connecting):
            slow = {each.name for each in self.picker.replicas.values() if each.state is ReplicaState.SLOW}
            for name in slow - self._slow:
                self._note(AnnotationKind.SLOW, name)
            self._slow = slow
            self._on_change()

    def _note(self, kind: AnnotationKind, replica: str, count: int = 0, to: str = "") -> None:
        self.changes.add(Noticed(kind, self._stage.name, replica, self._loop.time(), count, to))

    async def run(self) -> None:
        """Find endpoints and keep batches going until cancelled; then end the streams, within CLOSE_LIMIT_S.

        Raises what was raised while a response was received, which is a defect, in an ExceptionGroup.
        """
        async with self._tasks:
            checking = self._tasks.create_task(self._check())
            try:
                await self._resolve_periodically()
            finally:
                checking.cancel()
                await self._close()

    async def _close(self) -> None:
        self._resolved = set()
        for endpoint in self._open:
            endpoint.stopping = True
        self._reconcile()
        if self._open:
            await asyncio.wait(self._open.values(), timeout=CLOSE_LIMIT_S)
        for line in self._loggers.values():
            line.close()

    async def _resolve_periodically(self) -> None:
        """Look the target up again and again. A look-up that fails or finds nothing changes nothing."""
        failing_since = float("inf")
        while True:
            began = self._loop.time()
            found = set(await self._resolver.resolve())
            failure = self._resolver.failure
            failing_since = min(failing_since, began) if failure else float("inf")
            if not failure:
                self._forget(LOOKUP_FAILED)
            if failure and (found or began - failing_since > ABSENCE_LIMIT_S):
                self._log(LOOKUP_FAILED, target=self._resolver.target, details=failure)
            if found and failure:
                found |= {target for target, endpoint in self._endpoints.items() if endpoint.serving}
            chosen = self._choose_subset(found, began) if found else self._resolved
            if self._renew_certificates(began) or chosen != self._resolved:
                self._resolved = chosen
                self._reconcile()
            elif len(self._names) < len(self.picker.replicas):  # only replicas that do not serve change with time
                self._update_states()
            jitter = random.uniform(1 - LOOKUP_JITTER, 1)  # noqa: S311 - jitter is no secret
            pause = began - self._loop.time()
            lost_recently = began - self._lost_at < FAST_LOOKUP_TIME_S
            if self._idle:
                await self._rest(pause + IDLE_INTERVAL_S * jitter)
            elif not self._names or lost_recently or self._resolver.file:
                await asyncio.sleep(pause + FAST_LOOKUP_INTERVAL_S * jitter)
            else:
                await asyncio.sleep(pause + LOOKUP_INTERVAL_S * jitter)

    async def _rest(self, seconds: float) -> None:
        """Wait until a batch is submitted or a stream ends, but no longer than this."""
        self._wake.clear()
        await sleep_unless(self._wake, seconds)

    def _choose_subset(self, found: set[str], now: float) -> set[str]:
        """Return all targets, or a subset of MAX_ENDPOINTS: those in use, of which one is replaced at an interval."""
        if len(found) <= self._max_endpoints:
            return found
        self._is_subset = len(found) > self._max_endpoints
        kept, others = sorted(found & self._resolved), sorted(found - self._resolved)
        most_kept = self._max_endpoints
        if now >= self._refresh_subset_at:
            self._refresh_subset_at = now + SUBSET_REFRESH_INTERVAL_S
            most_kept -= 1
        kept = random.sample(kept, min(len(kept), most_kept))
        return {*kept, *random.sample(others, min(len(others), self._max_endpoints - len(kept)))}

    def _renew_certificates(self, now: float) -> bool:
        """Let endpoints leave whose certificates were renewed on disk, one after the other. Return whether one does."""
        if self._certificates is not None and now >= self._renew_at:
            self._certificates.check()
            for endpoint in self._endpoints.values():
                if endpoint.certificates is not self._certificates.latest:
                    endpoint.leave()
                    self._renew_at = now + RENEWAL_INTERVAL_S
                    return True
        return False

    # What is slow, silent or absent.

    async def _check(self) -> None:
        while True:
            began = self._loop.time()
            if self._requests:
                oldest = min((stream.oldest_sent_at for stream in self._streams()), default=began)
                due = min(max(oldest + self._hedging.delay, began + CHECK_INTERVAL_S), began + MIN_HEDGING_DELAY_S)
                await asyncio.sleep(due - began)
                now = self._loop.time()
                if now - due < CHECK_INTERVAL_S:
                    self._hedge(now)
                    self._replace_silent(now)
                self._update_states()
            else:  # only streams and look-ups change states, and they update them
                await self._rest(IDLE_INTERVAL_S if self._idle else EMPTY_CHECK_INTERVAL_S)
                now = self._loop.time()
            for line in self._loggers.values():
                line.flush()
            if self._names != self._logged_names and now >= self._silent_until["changes"]:
                self._log_changes(now)
            if self._names:
                self._serving_at = now
            elif now - self._serving_at > ABSENCE_LIMIT_S:
                self._log_absence(now)

    def _hedge(self, now: float) -> None:
        """Send batches over the hedging delay to a second replica, as far as the budget allows, and log the others."""
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
                if second is None or second.replica == stream.replica or not self._hedging.take_token():
                    waiting.append({**about, "seconds": round(now - attempt.sent_at, 1)})
                    continue
                self._log("over the hedging delay, sent to a second replica", **about, second=second.replica)
                self.hedges += 1
                self._note(AnnotationKind.SLOW, stream.replica, count=1, to=second.replica)
                request.hedged = True
                self._send(second, request, now, HEDGE)
        if waiting and now >= self._silent_until["slow"]:
            self._silent_until["slow"] = now + REPEAT_S
            log.get(to=self._stage.name).warning("no response yet", **waiting[0], batches=len(waiting))

    def _streams(self) -> list[Stream]:
        """Return the streams that have joined."""
        return [stream for replica in self.picker.replicas.values() for stream in replica.streams]

    def _replace_silent(self, now: float) -> None:
        """Abort streams that stay silent although their server completes newer batches on others, or for very long."""
        overtaken_limit = max(OVERTAKEN_LIMIT_S, OVERTAKEN_FACTOR * self._hedging.delay)
        for stream, others in [(stream, each.streams - {stream}) for each in self._open for stream in each.streams]:
            if (silent := now - stream.oldest_sent_at) > overtaken_limit:
                if silent > SILENCE_LIMIT_S or any(other.newest_sent_at > stream.oldest_sent_at for other in others):
                    stream.abort(f"no response for {silent:.1f} s")
                for other in others:
                    if not other.outstanding:
                        other.probe()

    def _log_changes(self, now: float) -> None:
        """Log which replicas take batches."""
        self._silent_until["changes"] = now + CHANGES_INTERVAL_S
        names = self._logged_names = self._names
        listed = ", ".join(names[:MAX_LISTED]) + (", ..." if len(names) > MAX_LISTED else "")
        name = self._stage.name
        event = f"using {len(names)} {name}{'s' if len(names) > 1 else ''}: {listed}" if names else f"using no {name}"
        log.get().info(event, figures={"to": name, "count": len(names), "names": names})

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

    def _log(self, event: str, **fields: Any) -> None:
        if event not in self._loggers:
            level, interval_s = LOG_EVENTS.get(event, ("warning", 1.0))
            self._loggers[event] = ThrottledLogger(event, interval_s, level, to=self._stage.name)
        # All streams of a connection break together.
        logger = self._loggers[event]
        (logger.hold_back if event == BROKEN else logger.log)(**fields)

    def _forget(self, *conditions: str) -> None:
        """Drop lines that are held back about conditions that have ended."""
        for event in conditions:
            if event in self._loggers:
                self._loggers[event].clear()
