"""What a worker says in its own key, whatever stands there."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.endpoint_state import EndpointState
from webui_svc import backends, coins
from webui_svc.backends import Backend
from webui_svc.coins import Coin
from webui_svc.stored_json import MalformedJsonError

RNG = {"name": "rng-1", "address": "10.0.0.3:50051", "state": "serving", "batches": 12, "latency": {"40": 11, "47": 1}}
VIEW = {"seconds": 1.003, "rng": [RNG], "hasher": []}
FOUND = {"bits": 4, "latest": [["0a" * 32, 1764000000.123]]}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=5,
)


def encoded(data: Any) -> bytes:
    return json.dumps(data).encode()


def test_a_good_view_is_taken() -> None:
    view = backends.parse(encoded(VIEW))
    assert view.seconds == 1.003
    rng = Backend("rng-1", "10.0.0.3:50051", EndpointState.SERVING, 12, {40: 11, 47: 1})
    assert view.backends == {"rng": (rng,), "hasher": ()}


def test_good_finds_are_taken() -> None:
    found = coins.parse(encoded(FOUND))
    assert (found.bits, found.latest) == (4, (Coin("0a" * 32, 1764000000.123),))


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": 3},
        {"name": "x" * 129},
        {"address": ""},
        {"state": "well"},
        {"state": None},
        {"batches": -1},
        {"batches": 1.5},
        {"batches": True},
        {"batches": 10**30},
        {"latency": {"500": 1}},
        {"latency": []},
    ],
)
def test_a_backend_out_of_bounds_spoils_the_view(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedJsonError):
        backends.parse(encoded({**VIEW, "rng": [{**RNG, **change}]}))


@pytest.mark.parametrize("field", ["seconds", "rng", "hasher"])
def test_a_view_that_lacks_something_names_it(field: str) -> None:
    with pytest.raises(MalformedJsonError, match=f"^{field}: missing"):
        backends.parse(encoded({name: value for name, value in VIEW.items() if name != field}))


@pytest.mark.parametrize(
    "change",
    [
        {"bits": -1},
        {"bits": 257},
        {"bits": "4"},
        {"latest": {}},
        {"latest": [["0a" * 32, 1.0]] * 9},
        {"latest": [["0A" * 32, 1.0]]},
        {"latest": [["0a" * 31, 1.0]]},
        {"latest": [["0a" * 32, "now"]]},
        {"latest": [["0a" * 32, -1.0]]},
        {"latest": [["0a" * 32, float("inf")]]},
        {"latest": [["0a" * 32]]},
        {"latest": ["0a" * 32]},
    ],
)
def test_finds_out_of_bounds_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedJsonError):
        coins.parse(encoded({**FOUND, **change}))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[" * 200_000,
        b'{"seconds": 1e999, "rng": [], "hasher": []}',
        b'{"seconds": NaN, "rng": [], "hasher": []}',
        b'{"seconds": ' + b"9" * 5_000 + b', "rng": [], "hasher": []}',
        b" " * (backends.MOST_BYTES + 1),
    ],
)
def test_what_is_no_sane_json_is_refused(raw: bytes) -> None:
    for parse in (backends.parse, coins.parse):
        with pytest.raises(MalformedJsonError):
            parse(raw)


@given(st.binary(max_size=50) | VALUES.map(encoded) | st.dictionaries(st.sampled_from(list(VIEW)), VALUES).map(encoded))
def test_whatever_stands_there_is_taken_or_malformed(raw: bytes) -> None:
    for parse in (backends.parse, coins.parse):
        try:
            parse(raw)
        except MalformedJsonError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
