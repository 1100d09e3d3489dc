import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from chassis.large_fields import MIN_LARGE_BYTES, parse, with_large_field

messages = st.builds(
    StreamHashesRequest,
    batch_id=st.integers(0, 2**64 - 1),
    message_size=st.integers(0, 2**32 - 1),
    traceparent=st.sampled_from(["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x" * 5_000]),
)
sizes = st.integers(0, 300) | st.integers(MIN_LARGE_BYTES - 1, MIN_LARGE_BYTES + 1) | st.just(2**21)


@given(messages, sizes)
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_protobuf_decodes_a_large_field_like_any_other(
    kind: type[bytes] | type[memoryview], message: StreamHashesRequest, size: int
) -> None:
    data = bytes(number % 251 for number in range(min(size, 251))) * (size // 251 + 1)
    encoded = with_large_field(message, "data", kind(data)).SerializeToString()
    message.data = data
    assert StreamHashesRequest.FromString(encoded) == message
    for form in (encoded, message.SerializeToString(), encoded + b"\x18\x07"):
        parsed, expected = parse(StreamHashesRequest.FromString, form), StreamHashesRequest.FromString(form)
        fields = [(each.batch_id, each.data, each.message_size, each.traceparent) for each in (parsed, expected)]
        assert fields[0] == fields[1]


def test_a_large_field_is_a_view_only_where_it_is_the_last_one_of_bytes() -> None:
    data = bytes(MIN_LARGE_BYTES)
    encoded = StreamHashesRequest(batch_id=1, data=data).SerializeToString()
    view: object = parse(StreamHashesRequest.FromString, encoded).data
    assert isinstance(view, memoryview)
    assert view.obj is encoded
    for copied in (
        StreamHashesRequest(batch_id=1, data=data, message_size=1),
        StreamHashesRequest(batch_id=1, data=data[1:]),
        StreamHashesRequest(traceparent="x" * MIN_LARGE_BYTES),
    ):
        assert isinstance(parse(StreamHashesRequest.FromString, copied.SerializeToString()), StreamHashesRequest)


@given(st.binary(max_size=300), st.booleans())
def test_what_protobuf_refuses_is_refused(head: bytes, padded: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    encoded = head + padded * bytes(MIN_LARGE_BYTES)
    try:
        expected = StreamHashesRequest.FromString(encoded)
    except DecodeError:
        with pytest.raises(DecodeError):
            parse(StreamHashesRequest.FromString, encoded)
    else:
        assert parse(StreamHashesRequest.FromString, encoded).data == expected.data
