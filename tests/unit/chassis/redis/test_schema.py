import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict
from support.reports import make_report

from chassis.redis import schema
from chassis.redis.schema import (
    Coin,
    MalformedError,
    Report,
    decode_coins,
    decode_replicas,
    decode_report,
    report_arguments,
)
from chassis.settings import Pace

END_S = 1_700_000_000
END_US = END_S * 1_000_000
REPORT = make_report(END_S - 0.9, END_S, 3, pace=Pace.FULL, stalled_since_us=5, waits_for="hasher")
GOOD = {name.encode(): str(value).encode() for name, value in asdict(REPORT).items()}
NAMES = (b"worker", b"instance", b"pace", b"waits_for")


def parsed(**changes: bytes) -> Report:
    """Return what is read of an entry that Redis wrote when the report ended."""
    return decode_report({**GOOD, **{name.encode(): value for name, value in changes.items()}}, END_S * 1_000)


def test_a_good_entry_is_a_report_whatever_time_the_workers_clock_shows() -> None:
    assert parsed() == REPORT
    for seconds in (-86_400, -90, 90, 86_400):
        end_us = END_US + seconds * 1_000_000
        assert parsed(**dict.fromkeys(("begin_us", "end_us", "sent_us"), b"%d" % end_us)).end_us == end_us


@pytest.mark.parametrize("field", GOOD)
def test_a_field_that_is_missing_or_malformed_is_named(field: bytes) -> None:
    with pytest.raises(MalformedError, match=f"missing.*`{field.decode()}`|^{field.decode()}: missing"):
        decode_report({name: value for name, value in GOOD.items() if name != field}, END_S * 1_000)
    names = (b" ", b"a b", b"\xff", b"x" * 129, b"a\nb")
    numbers = (b"", b"x", b"-1", b"1.5", b"nan", b" 1", b"1_0", b"0x1", b"\xff\xfe", "٣".encode(), b"9" * 5_000)
    for value in names if field in NAMES else numbers:
        with pytest.raises(MalformedError, match=rf"at `\$.{field.decode()}`|^redis_us"):
            decode_report({**GOOD, field: value}, END_S * 1_000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"report_interval_us": b"60000001"}, r"<= 60000000 - at `\$.report_interval_us`"),
        ({"begin_us": b"%d" % (END_US + 1)}, r"^end_us: .* is not from begin_us"),
        ({"sent_us": b"%d" % (END_US - 1)}, r"^end_us: .* is not from begin_us .* to sent_us"),
        ({"redis_us": b"%d" % (END_US + 1_000)}, r"^redis_us: .* is later than the entry's id"),
    ],
)
def test_times_that_contradict_each_other_are_refused(changes: dict[str, bytes], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parsed(**changes)


RNG = {"name": "rng-1", "address": "10.0.0.3:50051", "state": "serving", "batches": 12, "latency": {"0": 11, "120": 1}}
VIEW: dict[str, Any] = {"seconds": 1.003, "rng": [RNG], "hasher": []}
DIGEST = "0a" * 32
FOUND: dict[str, Any] = {"bits": 4, "latest": [[DIGEST, 1764000000.123]]}
OUT_OF_BOUNDS: dict[str, list[Any]] = {
    "rng[0].name": ["", "a b", 3, "x" * 129],
    "rng[0].address": [""],
    "rng[0].state": ["well", None],
    "rng[0].batches": [-1, 1.5, True, 10**30],
    "rng[0].latency": [None, []],
    "`key` in `$.rng[0].latency": [{bucket: 1} for bucket in ("121", "-1", "01", "1.0")],
    "rng[0].latency[...]": [{"1": count} for count in (-1, 1.5, True, 2**60)],
    "bits": [-1, 257, "4"],
    "latest": [{}, [["0a" * 32, 1.0]] * 9],
    "latest[0]": [["0a" * 32], [["0a" * 32]]],
    "latest[0][0]": [[["0A" * 32, 1.0]], [["0a" * 31, 1.0]]],
    "latest[0][1]": [[["0a" * 32, "now"]], [["0a" * 32, -1.0]]],
}
ODD = [b"", b"\xff\xfe", b"null", b"[" * 200_000, b" " * (schema.MAX_REPLICAS_BYTES + 1)]
ODD += [b'{"seconds": %b, "rng": [], "hasher": []}' % number for number in (b"1e999", b"NaN", b"9" * 5_000)]


def encoded(data: Any) -> bytes:
    return json.dumps(data).encode()


def test_replicas_and_coins_of_a_worker_are_accepted_within_bounds() -> None:
    assert decode_replicas(encoded(VIEW)).rng[0].latency == {0: 11, 120: 1}
    assert decode_replicas(encoded(VIEW | {"seconds": 100_000})).seconds == 100_000
    assert decode_coins(encoded(FOUND)).latest == [Coin(DIGEST, 1764000000.123)]
    for path, values in OUT_OF_BOUNDS.items():
        name = re.split(r"[^a-z]", path.removeprefix("`key` in `$.").removeprefix("rng[0]."))[0]
        for value in values:
            changed = {"rng": [RNG | {name: value}]} if name in RNG else {name: value}
            decode: Callable[[bytes], object] = decode_replicas if name in RNG else decode_coins
            with pytest.raises(MalformedError, match=rf"{re.escape(path)}`$"):
                decode(encoded(VIEW | FOUND | changed))
    for raw in ODD:
        for decode in (decode_replicas, decode_coins):
            with pytest.raises(MalformedError):
                decode(raw)


@pytest.mark.parametrize("instance", ["worker-1", "worker", "worker-0123abcd", "worker-0123ABCD"])
def test_the_instance_of_a_worker_is_found_in_its_id_which_is_another_for_each_process(instance: str) -> None:
    ids = {schema.new_worker_id(instance) for _ in range(2)}
    assert len(ids) == 2
    assert {schema.instance_of(each) for each in ids} == {instance}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(list(GOOD)), st.binary(max_size=30)),
    st.binary(max_size=50) | st.dictionaries(st.sampled_from([*VIEW, *FOUND]), VALUES).map(encoded),
)
def test_whatever_redis_holds_is_taken_or_malformed(fields: dict[bytes, bytes], raw: bytes) -> None:
    parsers: list[Callable[[], object]] = [
        lambda: decode_report({**GOOD, **fields}, END_S * 1_000),
        lambda: decode_replicas(raw),
        lambda: decode_coins(raw),
    ]
    for each in parsers:
        try:
            each()
        except MalformedError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, b"1") for field in (b"x", b"-10", b"15", b"9" * 30, b"\xff")),
        *((b"10", value) for value in (b"x", b"nan", b"inf", b"-1", b"1e300", b"\xff")),
    ],
)
def test_anything_but_ten_second_buckets_is_left_out(field: bytes, value: bytes) -> None:
    assert schema.decode_buckets({field: value, b"20": b"1.5"}) == {20: 1.5}


SCRIPT = (Path(__file__).parents[4] / "worker_svc" / "ledger.lua").read_text()


def names_in_script(of: str) -> list[str]:
    """Return the names that the script has for KEYS or ARGV, by position."""
    found = re.findall(rf"(\w+) = {of}\[(\d+)\]", SCRIPT)
    assert [int(position) for _, position in found] == list(range(1, len(found) + 1))
    return [name for name, _ in found]


def test_the_script_names_all_keys_and_arguments_in_their_order() -> None:
    keys = schema.Keys()
    own = {"worker": keys.worker("w-1"), "worker_totals": keys.worker_totals("w-1")}
    named = [own.get(name) or getattr(keys, name) for name in names_in_script("KEYS")]
    assert named == keys.for_report("w-1")
    snapshot, coins = schema.ReplicaSnapshot(1, (), ()), schema.NewCoins(4, ())
    arguments = report_arguments(REPORT, snapshot, coins, oldest_sequence=7, wallet=(), wallet_limit=8, leaving=True)
    given = dict(zip(names_in_script("ARGV"), arguments, strict=True))
    assert given == {name: value for name, value in asdict(REPORT).items() if name != "redis_us"} | {
        "oldest_sequence": 7,
        "wallet_limit": 8,
        "replicas": msgspec.json.encode(snapshot),
        "new_coins": msgspec.json.encode(coins),
        "changes": b"[]",
        "leaving": 1,
    }
    assert f"\nlocal FIRST_COIN = {len(given) + 1}\n" in SCRIPT


def test_the_script_has_the_limits_and_kinds_of_the_schema() -> None:
    numbers = dict(re.findall(r"^local (\w+) = (\d+)$", SCRIPT, re.MULTILINE))
    kept = {
        "BUCKET_SECONDS": schema.BUCKET_S,
        "TOTALS_SECONDS": schema.BUCKETS_S,
        "REPORTS_SECONDS": schema.REPORTS_S,
        "ANNOTATIONS_SECONDS": schema.ANNOTATIONS_S,
        "MAX_ANNOTATIONS": schema.MAX_ANNOTATIONS,
        "MAX_NAMES": schema.MAX_ANNOTATION_NAMES,
    }
    assert {name: int(numbers[name]) for name in kept} == kept
    [kinds] = re.findall(r"^local REPLICA_KINDS = {(.*)}$", SCRIPT, re.MULTILINE)
    assert set(re.findall(r"(\w+) = true", kinds)) == schema.REPLICA_KINDS


@pytest.mark.parametrize("raw", [b"-5", b"1_000", b" 12 ", b"\xff", b"%d" % 10**30])
def test_a_count_is_a_whole_number_within_bounds(raw: bytes) -> None:
    assert (schema.decode_count(None), schema.decode_count(b"12")) == (0, 12)
    with pytest.raises(MalformedError):
        schema.decode_count(raw)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"began": NaN}', b" " * (schema.MAX_LOAD_TEST_BYTES + 1)])
def test_anything_but_a_report_of_a_load_test_is_malformed(raw: bytes) -> None:
    assert schema.decode_load_test(b'{"began": "now", "points": []}') == {"began": "now", "points": []}
    with pytest.raises(MalformedError):
        schema.decode_load_test(raw)
