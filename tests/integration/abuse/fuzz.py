"""Coverage-guided fuzzing of what decodes what others sent: python -m integration.abuse.fuzz TARGET FOLDER SECONDS.

The folder gets the corpus, begun here with what is right, and what made it fail. Oracles are hashlib and protobuf.
"""

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import atheris
from google.protobuf.message import DecodeError, Message

with atheris.instrument_imports(include=["chassis.packed_field", "hasher_svc", "webui_svc"]):
    from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest, StreamHashesResponse
    from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesResponse

    from chassis import packed_field
    from chassis.packed_field import PackedField
    from hasher_svc import fallback, kernel
    from webui_svc import backends, coins, totals
    from webui_svc.load_tests import LoadTests
    from webui_svc.report import MalformedReportError, Report, parse
    from webui_svc.stored_json import MalformedJsonError

LONGEST = 4_096
"""Bytes of an input."""

NOW = 1_700_000_000.0
PACKED: list[tuple[type[Message], str, PackedField[Any]]] = [
    (of, name, PackedField(of, name))
    for of, name in (
        (StreamHashesRequest, "data"),
        (StreamHashesResponse, "digests"),
        (StreamRandomBytesResponse, "data"),
    )
]
REPORT = {
    b"worker": b"w-1", b"instance": b"w", b"sequence": b"1", b"hashes": b"10", b"coins": b"1",
    b"begin_us": b"1699999999000000", b"end_us": b"1700000000000000", b"batch_size": b"1", b"pace": b"classic",
}  # fmt: skip
JSON = (
    b'{"seconds":1.0,"rng":[{"name":"rng-1","state":"serving","batches":3,"latency":{"67":3}}],"hasher":[]}',
    b'{"bits":4,"latest":[["' + b"0" * 64 + b'",1700000000.5]]}',
    b'{"began":"2026-01-01"}',
)


def hash_with_kernel(raw: bytes) -> None:
    """As hashlib does, from any place on, in messages of any size."""
    if len(raw) < 3:
        return
    size, start, data = raw[0] << 2 | raw[1] & 3 or 1, raw[2], raw[3:]
    start = min(start, len(data))
    count = (len(data) - start) // size
    messages = (data[start + number * size :][:size] for number in range(count))
    assert digests(data, size, start) == b"".join(sha256(message).digest() for message in messages)


def read_report(raw: bytes) -> None:
    """It is a report or malformed; so is whatever else a worker leaves in Redis."""
    parts = raw.split(b"\n")
    fields = dict(zip(REPORT, parts, strict=False)) | dict.fromkeys(parts[len(REPORT) :], b"")
    try:
        report = parse(fields, NOW)
    except MalformedReportError:
        pass
    else:
        assert isinstance(report, Report)
        assert min(report.sequence, report.hashes, report.coins, report.batch_size, report.begin_us) >= 0
        assert report.begin_us <= report.end_us
    readers: tuple[Callable[[bytes], Any], ...] = (backends.parse, coins.parse)
    for read in readers:
        with suppress(MalformedJsonError):
            read(raw)
    LoadTests().set([raw])
    assert all(second % totals.RESOLUTION == 0 for second in totals.parse(dict.fromkeys(parts, raw)))


def unpack(raw: bytes) -> None:
    """As protobuf does it."""
    for of, name, packed in PACKED:
        try:
            whole = of.FromString(raw)
        except DecodeError:
            whole = None
        try:
            message, encoded, start = packed.decode(raw)
        except DecodeError:
            assert whole is None, of
            continue
        assert whole is not None, of
        setattr(message, name, encoded[start:])
        assert message == whole


TARGETS: dict[str, tuple[Callable[[bytes], None], Iterable[bytes]]] = {
    "kernel": (hash_with_kernel, [bytes((size // 4, size % 4, 1)) + bytes(range(250)) for size in (1, 32, 55, 56, 64)]),
    "reports": (read_report, [b"\n".join(REPORT.values()), *JSON]),
    "packed": (
        unpack,
        [
            packed.encode(of(batch_id=number), bytes(number % 200))
            for of, _, packed in PACKED
            for number in (0, 1, 300, 2**64 - 1)
        ],
    ),
}


def main(target: str, folder: Path, seconds: int) -> None:
    """Fuzz for so many seconds; the process ends with another code than 0 when something is found."""
    run, seeds = TARGETS[target]
    corpus = folder / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    packed_field._LEAST_SIZE = 1  # so that short messages go the way of large ones
    bounds = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-rss_limit_mb=1024", "-timeout=10"]
    atheris.Setup([sys.argv[0], *bounds, f"-artifact_prefix={folder}/{target}-", str(corpus)], run)
    atheris.Fuzz()


digests = kernel.load() if kernel.LIBRARY.exists() else fallback.digests

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
