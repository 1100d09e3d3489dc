import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from chassis.packed_field import PackedField

FIELD = PackedField(StreamHashesRequest, "data")

messages = st.builds(
    StreamHashesRequest,
    batch_id=st.integers(0, 2**64 - 1),
    message_size=st.integers(0, 2**32 - 1),
    traceparent=st.sampled_from(["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x" * 5_000]),
)
large = st.one_of(st.binary(max_size=300), st.integers(4_096, 2**16).map(bytes))


@pytest.fixture(autouse=True, scope="module", params=[0, 4_096])
def least_size(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where a message counts as large: small ones too, so that any bytes reach what is done by hand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chassis.packed_field._LEAST_SIZE", request.param)
        yield


def decoded(encoded: bytes) -> StreamHashesRequest:
    message, data, start = FIELD.decode(encoded)
    message.data = data[start:]
    return message


@given(messages, large)
def test_what_either_encodes_is_decoded_by_both(message: StreamHashesRequest, data: bytes) -> None:
    by_hand = FIELD.encode(message, memoryview(data))
    message.data = data
    assert StreamHashesRequest.FromString(by_hand) == message
    assert decoded(by_hand) == decoded(message.SerializeToString()) == message


@given(st.binary(max_size=40))
def test_any_bytes_are_what_protobuf_takes_them_for(encoded: bytes) -> None:
    try:
        expected = StreamHashesRequest.FromString(encoded)
    except DecodeError:
        with pytest.raises(DecodeError):
            FIELD.decode(encoded)
    else:
        assert decoded(encoded) == expected


@given(messages, st.lists(large.filter(len), min_size=2, max_size=3))
def test_of_a_field_that_comes_twice_the_last_one_counts(message: StreamHashesRequest, pieces: list[bytes]) -> None:
    repeated = (FIELD.encode(StreamHashesRequest(), piece) for piece in pieces)
    encoded = b"".join((message.SerializeToString(), *repeated))
    message.data = pieces[-1]
    assert decoded(encoded) == message


class Watched(bytes):
    """Bytes that know how many of them were looked at one by one."""

    looked = 0

    def __getitem__(self, index: Any) -> Any:
        self.looked += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("endless", [b"\x80", b"\x08\x01"], ids=["number", "fields"])
def test_what_does_not_end_is_not_looked_through(endless: bytes) -> None:
    encoded = Watched(endless * 100_000)
    with contextlib.suppress(DecodeError):
        FIELD.decode(encoded)
    assert 10 <= encoded.looked <= 64
