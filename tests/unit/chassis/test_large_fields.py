import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from hypothesis import given
from hypothesis import strategies as st

from chassis.large_fields import MIN_LARGE_BYTES, with_large_field

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
