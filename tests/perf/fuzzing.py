"""Inputs that are led by what code they reach: `python fuzzing.py TARGET FOLDER SECONDS`, in a process of its own.

It ends with 0 when the time is over, otherwise with a traceback and the input that did it in FOLDER.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["chassis.packed_field", "webui_svc", "hasher_svc"]):
    from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest, StreamHashesResponse
    from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesResponse
    from google.protobuf.message import DecodeError

    from chassis import packed_field as packed_field_module
    from chassis.packed_field import PackedField
    from hasher_svc import kernel
    from webui_svc import backends, coins, report, totals
    from webui_svc.load_tests import LoadTests
    from webui_svc.stored_json import MalformedJsonError

MAX_BYTES = 4_096
CARRIERS: list[tuple[Any, str, PackedField[Any]]] = [
    (message_type, name, PackedField(message_type, name))
    for message_type, name in (
        (StreamHashesRequest, "data"),
        (StreamHashesResponse, "digests"),
        (StreamRandomBytesResponse, "data"),
    )
]
FIELDS = (
    "worker",
    "instance",
    "sequence",
    "hashes",
    "coins",
    "begin_us",
    "end_us",
    "batch_size",
    "pace",
    "report_interval_us",
    "sent_us",
    "redis_us",
    "stalled_since_us",
    "waits_for",
)


def hash_packed(data: bytes) -> None:
    """The kernel's digests are hashlib's, whatever stands before the messages, and whatever is left behind them."""
    provider = atheris.FuzzedDataProvider(data)
    message_size, start = provider.ConsumeIntInRange(1, 300), provider.ConsumeIntInRange(0, 80)
    messages = provider.ConsumeBytes(MAX_BYTES)
    start = min(start, len(messages))
    count = (len(messages) - start) // message_size
    pieces = (messages[start + message_size * each :][:message_size] for each in range(count))
    assert DIGESTS(messages, message_size, start) == b"".join(hashlib.sha256(piece).digest() for piece in pieces)


def packed_field(data: bytes) -> None:
    """A request or an answer is what protobuf takes it for."""
    for message_type, name, packed in CARRIERS:
        try:
            expected = message_type.FromString(data)
        except DecodeError:
            expected = None
        try:
            message, content, start = packed.decode(data)
        except DecodeError:
            assert expected is None
            continue
        assert expected is not None
        assert content[start:] == getattr(expected, name)
        assert message.batch_id == expected.batch_id


def reports(data: bytes) -> None:
    """An entry of the stream is a report or malformed, and what is said of it is one line."""
    provider = atheris.FuzzedDataProvider(data)
    now = time.time()
    moment = b"%d" % int(now * 1e6)
    good = (b"a-1", b"a", b"1", b"3", b"0", moment, moment, b"1", b"classic", b"1000000", moment, moment, b"0", b"rng")
    fields = dict(zip((name.encode() for name in FIELDS), good, strict=True))
    for _ in range(provider.ConsumeIntInRange(0, 3)):
        name = FIELDS[provider.ConsumeIntInRange(0, len(FIELDS) - 1)].encode()
        fields[name] = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 140))
    try:
        assert isinstance(report.parse(fields, int(now * 1e3)), report.Report)
    except report.MalformedReportError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


def keys(data: bytes) -> None:
    """What stands in a worker's key, in the totals and in the load tests is taken, or left out."""
    for parse in (backends.parse, coins.parse):
        try:
            parse(data)
        except MalformedJsonError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
    tests = LoadTests()
    problems = tests.set([data])
    assert len(json.loads(tests.body)["reports"]) + len(problems) == 1
    middle = len(data) // 2
    assert all(hashes >= 0 for hashes in totals.parse({data[:middle]: data[middle:]}).values())


DIGESTS = kernel.load()

TARGETS: dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "hash_packed": (hash_packed, (b"", bytes(400), b"abc" * 200)),
    "packed_field": (
        packed_field,
        (
            StreamHashesRequest(batch_id=7, message_size=32, data=bytes(64)).SerializeToString(),
            StreamHashesRequest(batch_id=1 << 60, message_size=1, data=bytes(3_000)).SerializeToString(),
            StreamHashesResponse(batch_id=7, digests=bytes(2_048)).SerializeToString(),
            *(packed.encode(of(batch_id=number), bytes(200)) for of, _, packed in CARRIERS for number in (0, 300)),
        ),
    ),
    "reports": (reports, (b"", bytes(200), b"\x02\x03classic")),
    "keys": (
        keys,
        (
            b'{"seconds":1.003,"rng":[{"name":"r","state":"serving","batches":12,"latency":{"40":11}}],"hasher":[]}',
            b'{"bits":4,"latest":[["' + b"0a" * 32 + b'",1764000000.123]]}',
            b'{"began":"2026-01-01T00:00:00Z"}',
            b"1764000000" + b"1234567.25",
        ),
    ),
}


def main() -> None:
    name, folder, seconds = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    target, seeds = TARGETS[name]
    packed_field_module._LEAST_SIZE = 1  # so that messages as short as these go the way of large ones
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", "-timeout=5", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
