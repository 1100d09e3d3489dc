"""Defines what the worker writes to Redis and webui reads: keys, fields, limits and encodings.

`worker_svc/ledger.lua` applies a report, and writes all keys but `load_tests`. Whatever Redis holds, decoding it
returns values within these limits or raises MalformedError. Names that end in `_us` are microseconds of Unix time, on
the worker's clock unless a comment names another one.
"""

import math
import re
import secrets
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from chassis.settings import Pace
from chassis.telemetry.metrics import LAST_BUCKET

# One script writes all keys of a report, so in a cluster they must share a hash slot, which the hash tag in braces
# determines (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/). It is the default prefix with
# a cluster.
CLUSTER_PREFIX = "{dockercoins}:"

PREFIX_PATTERN = r"[A-Za-z0-9_.:{}/-]{0,64}"

# How far back the stream of reports and the buckets reach, and the length of a bucket. ledger.lua has them, too.
REPORTS_S = 900
BUCKETS_S = 3_600
BUCKET_S = 10

MAX_REPORT_INTERVAL_S = 60

# How far back annotations reach, and how many there are at most. ledger.lua has them, too.
ANNOTATIONS_S = 3_600
MAX_ANNOTATIONS = 1_000

# A worker or another replica that is gone is still listed for this time.
GONE_LISTED_S = 10.0

# Limits of the changes in a report and of the names in an annotation, whose `count` is the true number. ledger.lua has
# the second one, too.
MAX_CHANGES = 64
MAX_ANNOTATION_NAMES = 256

# Replicas of a service that a worker lists, and coins that it shows with a report.
MAX_REPLICAS = 64
MAX_NEW_COINS = 8

# Reports of load tests that are kept; each browser gets all of them.
MAX_LOAD_TESTS = 5
MAX_LOAD_TEST_BYTES = 256 * 1024

MAX_REPLICAS_BYTES = 256 * 1024
MAX_COINS_BYTES = 4_096

# The largest number that a browser counts exactly.
_MAX_COUNT = 2**53
_MAX_HASHES = 1e18
_MAX_SECOND = 1e11

_WORKER_ID = re.compile(rb"[!-~]{1,128}")
_PROCESS = re.compile(r"-[0-9a-f]{8}$")
_UNPRINTABLE = re.compile(r"[^ -~]")
_BUCKET = re.compile(rb"[0-9]{1,12}")

Count = Annotated[int, Meta(ge=0, le=_MAX_COUNT)]
Name = Annotated[str, Meta(pattern=r"\A[!-~]{1,128}\Z")]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
LatencyBucket = Annotated[int, Meta(ge=0, le=LAST_BUCKET)]
Service = Annotated[str, Meta(pattern=r"\A(worker|rng|hasher|redis)\Z")]
_Names = Annotated[str, Meta(pattern=r"\A[ -~]{0,34000}\Z")]
# The services in ReplicaSnapshot.
SERVICES = ("rng", "hasher")


class MalformedError(Exception):
    """Redis holds a value that the schema does not allow. The message is one line."""


class ReplicaState(StrEnum):
    """The state of a replica as a worker sees it, in the order of display."""

    SERVING = "serving"
    # Its latency is far higher than its peers', over all workers, so webui finds it.
    SLOW = "slow"
    # Its digests were wrong; it gets no more batches.
    EJECTED = "ejected"
    # It gets no more batches, but still completes some.
    DRAINING = "draining"
    # DNS lists its address, but it does not serve.
    CONNECTING = "connecting"
    # It served a while ago, but DNS no longer lists its address, or another replica is there now.
    GONE = "gone"


class AnnotationKind(StrEnum):
    """What changed."""

    JOINED = "joined"
    # In order.
    LEFT = "left"
    # Killed or cut off: its streams broke, or a worker has not reported for 5 s.
    LOST = "lost"
    # A replica's batches take long; `count` of them were hedged `to` others.
    SLOW = "slow"
    # `count` batches were sent again because a stream of this replica broke.
    RETRIED = "retried"
    # Its digests were wrong.
    EJECTED = "ejected"
    # Workers wait for the service.
    WAITING = "waiting"
    PACE = "pace"
    # The worker has found a better batch size and window; the value has both, and the evidence.
    AUTOTUNED = "autotuned"
    # Redis took no reports.
    GAP = "gap"


# The kinds of a replica's batches. An annotation of these is about one replica, and its `count` is that of the batches.
# ledger.lua has them, too.
REPLICA_KINDS = frozenset({AnnotationKind.SLOW, AnnotationKind.RETRIED, AnnotationKind.EJECTED})


class Keys:
    """The names of all keys. Without a prefix, `hashes` and `wallet` are the keys of the original DockerCoins."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        # Totals since the first start.
        self.hashes = f"{prefix}hashes"
        self.coins = f"{prefix}coins"
        # A Redis hash: hex digest to the bytes hashed.
        self.wallet = f"{prefix}wallet"
        # A stream: the fields of Report.
        self.reports = f"{prefix}reports"
        # A stream: the fields of Annotation.
        self.annotations = f"{prefix}annotations"
        # A sorted set: the ids of workers that report, scored by the Unix second from which on they count as lost.
        self.live_workers = f"{prefix}live_workers"
        # A Redis hash: the first Unix second of a ten-second bucket, on Redis's clock, to hashes.
        self.totals = f"{prefix}totals"
        # A sorted set: the ids of the last day's workers, scored by the Unix second of the last report. The member ""
        # has the latest of all.
        self.workers = f"{prefix}workers"
        # The report that is being applied, if one is.
        self.pending_report = f"{prefix}pending_report"
        # A list: reports of load tests in JSON, newest first.
        self.load_tests = f"{prefix}load_tests"

    def worker(self, worker_id: str) -> str:
        """Return the name of a worker's own hash: `sequence`, `replicas` (ReplicaSnapshot) and `coins` (NewCoins)."""
        return f"{self.prefix}worker:{worker_id}"

    def worker_totals(self, worker_id: str) -> str:
        """Return the name of the hash with one worker's part of the totals."""
        return f"{self.totals}:{worker_id}"

    def for_report(self, worker_id: str) -> list[str]:
        """Return the KEYS of ledger.lua."""
        shared = [self.hashes, self.coins, self.wallet, self.reports, self.totals]
        of_worker = [self.worker(worker_id), self.worker_totals(worker_id)]
        return [*shared, *of_worker, self.workers, self.pending_report, self.annotations, self.live_workers]

    @property
    def share_hash_slot(self) -> bool:
        """Whether all keys share a hash slot of a cluster: the prefix has a hash tag."""
        _, _, rest = self.prefix.partition("{")
        tag, closed, _ = rest.partition("}")
        return bool(tag and closed)


def new_worker_id(instance: str) -> str:
    """Return an id for a worker's process: the instance, a hyphen and 8 random hex digits."""
    return f"{instance}-{secrets.token_hex(4)}"


def instance_of(worker_id: str) -> str:
    """Return the instance in a worker's id, which a restart does not change."""
    return _PROCESS.sub("", worker_id)


class Report(Struct, frozen=True, kw_only=True, gc=False):
    """What one worker did in one interval, as the stream holds it."""

    # The worker's id.
    worker: Name
    instance: Name
    # 1 for a process's first report, then one more each.
    sequence: Count
    hashes: Count
    coins: Count
    # The interval: the end of the report before, and the last counted batch.
    begin_us: Count
    end_us: Count
    # Messages per batch, at the end.
    batch_size: Count
    pace: Pace
    # The time after which the worker is to report again.
    report_interval_us: Annotated[int, Meta(ge=0, le=MAX_REPORT_INTERVAL_S * 1_000_000)]
    # When the attempt that Redis applied was sent.
    sent_us: Count
    # In a report without a batch, when the last batch was counted, or the worker began; otherwise 0.
    stalled_since_us: Count
    # The service that does not respond, in a report that counts no batch; empty if unknown.
    waits_for: Annotated[str, Meta(pattern=r"\A(rng|hasher|)\Z")]
    # When Redis applied the report, on Redis's clock; the script adds it.
    redis_us: Count = 0


class ReplicaStats(Struct, frozen=True):
    """A replica as a worker saw it since the report before."""

    name: Name
    # Its IP address and port, as the worker connects to them.
    address: Name
    state: ReplicaState
    # Batches that it completed before any other replica did.
    batches: Count
    # Batches that were not hedged by latency bucket (chassis/telemetry/metrics.py).
    latency: dict[LatencyBucket, Count]
    # Seconds in which at least one batch was outstanding, and the seconds of all outstanding batches added up.
    busy_s: Seconds = 0.0
    outstanding_s: Seconds = 0.0
    # The least latency of a batch that met no other one of this worker's, of the size last sent; 0 if unknown.
    unqueued_s: Seconds = 0.0


Replicas = Annotated[Sequence[ReplicaStats], Meta(max_length=MAX_REPLICAS)]


class ReplicaSnapshot(Struct, frozen=True):
    """All replicas of a worker, those that serve first, over the seconds since its report before."""

    seconds: Seconds
    rng: Replicas
    hasher: Replicas
    # The batches that the worker keeps in flight, and the seconds in which its event loop had a CPU or waited for one.
    window: Count = 0
    cpu_s: Seconds = 0.0


class Change(Struct, frozen=True):
    """Something that a worker noticed, for an annotation."""

    kind: AnnotationKind
    service: Service
    # A replica or a worker.
    name: Name
    at_us: Count
    # Batches, for SLOW and RETRIED.
    count: Count = 0
    # The replica to which batches were hedged.
    to: Annotated[str, Meta(pattern=r"\A[!-~]{0,128}\Z")] = ""
    value: Annotated[str, Meta(pattern=r"\A[a-z0-9 .()]{0,80}\Z")] = ""


class Annotation(Struct, frozen=True, kw_only=True, gc=False):
    """What changed, as the stream holds it: changes of one kind with less than ten seconds between them are one entry.

    Times are on Redis's clock. An entry that is extended is written again with the same `at_us`.
    """

    kind: AnnotationKind
    service: Service
    # Separated by spaces.
    names: _Names
    count: Count
    to: _Names
    value: Annotated[str, Meta(pattern=r"\A[a-z0-9 .()]{0,80}\Z")]
    at_us: Count
    until_us: Count
    # When this was written.
    redis_us: Count


class Coin(Struct, frozen=True, array_like=True):
    """A digest in hex, and the Unix second in which it was found."""

    digest: Digest
    at: Annotated[float, Meta(ge=0, le=_MAX_SECOND)]


class NewCoins(Struct, frozen=True):
    """The leading zero bits that make a coin, and a worker's latest coins, oldest first."""

    bits: Annotated[int, Meta(ge=0, le=256)]
    latest: Annotated[Sequence[Coin], Meta(max_length=MAX_NEW_COINS)]


def report_arguments(  # noqa: PLR0913 - those that have no default are what a report consists of
    report: Report,
    replicas: ReplicaSnapshot,
    coins: NewCoins,
    *,
    oldest_sequence: int,
    wallet: Sequence[tuple[str, bytes]],
    wallet_limit: int,
    changes: Sequence[Change] = (),
    leaving: bool = False,
) -> list[str | bytes | int]:
    """Return the ARGV of ledger.lua.

    `oldest_sequence` is that of the oldest report that the worker still has. The coins for the wallet are hex digests
    and the bytes hashed; the wallet stores them while it has room. `leaving` is for a worker's last report.
    """
    return [
        *(report.worker, report.instance, report.sequence, oldest_sequence, report.hashes, report.coins),
        *(report.begin_us, report.end_us, report.batch_size, report.pace.value, report.report_interval_us),
        *(report.sent_us, report.stalled_since_us, report.waits_for, wallet_limit),
        *(msgspec.json.encode(replicas), msgspec.json.encode(coins)),
        *(msgspec.json.encode(changes[:MAX_CHANGES]), int(leaving)),
        *(part for coin in wallet for part in coin),
    ]


def decode_report(fields: Mapping[bytes, bytes] | None, written_ms: int) -> Report:
    """Return the report in a stream's entry that was written at `written_ms`, the time in its id, or before."""
    report = _convert(fields, Report)
    if not report.redis_us:
        raise MalformedError("redis_us: missing")
    if not report.begin_us <= report.end_us <= report.sent_us:
        raise MalformedError(
            f"end_us: {report.end_us} is not from begin_us {report.begin_us} to sent_us {report.sent_us}"
        )
    if report.redis_us // 1_000 > written_ms:
        raise MalformedError(f"redis_us: {report.redis_us} is later than the entry's id, {written_ms} ms")
    return report


def decode_annotation(fields: Mapping[bytes, bytes] | None) -> Annotation:
    """Return the annotation in a stream's entry."""
    annotation = _convert(fields, Annotation)
    if not annotation.at_us <= annotation.until_us:
        raise MalformedError(f"until_us: {annotation.until_us} is before at_us {annotation.at_us}")
    return annotation


def decode_replicas(raw: bytes) -> ReplicaSnapshot:
    """Return the replicas that a worker saw."""
    return _decode(raw, ReplicaSnapshot, MAX_REPLICAS_BYTES)


def decode_coins(raw: bytes) -> NewCoins:
    """Return the coins that a worker found last."""
    return _decode(raw, NewCoins, MAX_COINS_BYTES)


def decode_load_test(raw: bytes) -> dict[str, Any]:
    """Return a load test's report. Only the field `began` is required."""
    report = _decode(raw, dict[str, Any], MAX_LOAD_TEST_BYTES)
    if "began" not in report:
        raise MalformedError("began: missing")
    return report


def decode_count(raw: bytes | None) -> int:
    """Return a count; 0 if the key does not exist."""
    try:
        return msgspec.convert((raw or b"0").decode(errors="replace"), Count, strict=False)
    except ValueError as error:
        raise MalformedError(_line(error)) from None


def decode_worker_ids(members: Sequence[bytes]) -> list[str]:
    """Return the ids of workers, skipping invalid ones."""
    return [raw.decode() for raw in members if _WORKER_ID.fullmatch(raw)]


def decode_buckets(fields: Mapping[bytes, bytes | None]) -> dict[int, float]:
    """Return hashes by the bucket's first second, skipping invalid buckets."""
    buckets = {}
    for field, value in fields.items():
        second = int(field) if _BUCKET.fullmatch(field) else -1
        try:
            hashes = float(value or "")
        except ValueError:
            hashes = math.nan  # no comparison holds for it
        if second >= 0 and second % BUCKET_S == 0 and 0 <= hashes <= _MAX_HASHES:
            buckets[second] = hashes
    return buckets


_T = TypeVar("_T")


def _convert(fields: Mapping[bytes, bytes] | None, kind: type[_T]) -> _T:
    texts = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in (fields or {}).items()}
    try:
        return msgspec.convert(texts, kind, strict=False)
    except ValueError as error:
        raise MalformedError(_line(error)) from None


def _decode(raw: bytes, kind: type[_T], max_bytes: int) -> _T:
    if len(raw) > max_bytes:
        raise MalformedError(f"{len(raw)} bytes are more than {max_bytes}")
    try:
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, RecursionError) as error:
        raise MalformedError(_line(error)) from None


def _line(error: Exception) -> str:
    return _UNPRINTABLE.sub("?", str(error)[:200])
