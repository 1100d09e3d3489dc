"""Inputs that are led by what code they reach: `python fuzzing.py TARGET FOLDER SECONDS`, in a process of its own.

It ends with 0 when the time is over, otherwise with a traceback and the input that did it in FOLDER.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["chassis.redis.schema"]):
    from chassis.redis import schema

MAX_BYTES = 4_096
NOW = time.time()
REPORT = (
    "worker=a-1 instance=a sequence=1 hashes=3 coins=0 begin_us={now} end_us={now} batch_size=1 pace=classic "
    "report_interval_us=1000000 sent_us={now} redis_us={now} stalled_since_us=0 waits_for=rng"
).format(now=int(NOW * 1e6))
GOOD = dict(field.encode().split(b"=") for field in REPORT.split())


def reports(data: bytes) -> None:
    """An entry of the stream is a report or malformed, and what is said of it is one line."""
    provider = atheris.FuzzedDataProvider(data)
    fields = dict(GOOD)
    for _ in range(provider.ConsumeIntInRange(0, 3)):
        name = list(GOOD)[provider.ConsumeIntInRange(0, len(GOOD) - 1)]
        fields[name] = provider.ConsumeBytes(provider.ConsumeIntInRange(0, 140))
    try:
        assert isinstance(schema.decode_report(fields, int(NOW * 1e3)), schema.Report)
    except schema.MalformedError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


def keys(data: bytes) -> None:
    """What stands in a worker's key, in the totals and in the load tests is taken, or left out."""
    for decode in (schema.decode_replicas, schema.decode_coins, schema.decode_load_test):
        try:
            decode(data)
        except schema.MalformedError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
    middle = len(data) // 2
    assert all(hashes >= 0 for hashes in schema.decode_buckets({data[:middle]: data[middle:]}).values())


TARGETS: dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
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
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    limits = [f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", "-timeout=5", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", "-print_final_stats=1", str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
