import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from chassis.large_fields import MIN_LARGE_BYTES, parse, with_large_field

batches = st.builds(
    StreamHashesRequest.Batch,
    batch_id=st.integers(0, 2**64 - 1),
    message_size=st.integers(0, 2**32 - 1),
    traceparent=st.sampled_from(["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x" * 5_000]),
)
sizes = st.integers(0, 300) | st.integers(MIN_LARGE_BYTES - 1, MIN_LARGE_BYTES + 1) | st.just(2**21)


@given(batches, st.lists(sizes, min_size=1, max_size=3))
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_protobuf_decodes_a_large_field_like_any_other(
    kind: type[bytes] | type[memoryview], batch: StreamHashesRequest.Batch, sizes: list[int]
) -> None:
    values = [bytes(number % 251 for number in range(min(size, 251))) * (size // 251 + 1) for size in sizes]
    message = StreamHashesRequest(batches=[batch] * len(values))
    encoded = with_large_field(message, "data", list(map(kind, values))).SerializeToString()
    for each, value in zip(message.batches, values, strict=True):
        each.data = value
    assert StreamHashesRequest.FromString(encoded) == message
    for form in (encoded, message.SerializeToString(), encoded + b"\x18\x07"):
        parsed, expected = parse(StreamHashesRequest.FromString, form), StreamHashesRequest.FromString(form)
        fields = [
            [(batch.batch_id, batch.data, batch.message_size, batch.traceparent) for batch in each.batches]
            for each in (parsed, expected)
        ]
        assert fields[0] == fields[1]


def test_a_large_field_is_a_view_only_where_it_is_the_last_one_of_bytes() -> None:
    data = bytes(MIN_LARGE_BYTES)
    viewed = StreamHashesRequest.Batch(batch_id=1, data=data)
    encoded = StreamHashesRequest(batches=[viewed]).SerializeToString()
    view: object = parse(StreamHashesRequest.FromString, encoded).batches[0].data
    assert isinstance(view, memoryview)
    assert view.obj is encoded
    for copied in (
        [StreamHashesRequest.Batch(batch_id=1, data=data, message_size=1)],
        [StreamHashesRequest.Batch(data=data[:-10])],
        [StreamHashesRequest.Batch(traceparent="x" * MIN_LARGE_BYTES)],
        [viewed, viewed],
    ):
        encoded = StreamHashesRequest(batches=copied).SerializeToString()
        assert isinstance(parse(StreamHashesRequest.FromString, encoded), StreamHashesRequest)


@given(st.binary(max_size=300), st.booleans())
def test_what_protobuf_refuses_is_refused(head: bytes, padded: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    encoded = head + padded * bytes(MIN_LARGE_BYTES)
    try:
        expected = StreamHashesRequest.FromString(encoded)
    except DecodeError:
        with pytest.raises(DecodeError):
            parse(StreamHashesRequest.FromString, encoded)
    else:
        parsed = parse(StreamHashesRequest.FromString, encoded)
        assert [batch.data for batch in parsed.batches] == [batch.data for batch in expected.batches]
