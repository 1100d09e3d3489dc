"""Requests of any content: of the right type with values at and beyond every bound, changed a little, or any bytes."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

MAX_BYTES = 2 * 1024 * 1024
BOUNDS = (0, 1, 2, 32, 33, 65_535, 65_536, 65_537, MAX_BYTES - 1, MAX_BYTES, MAX_BYTES + 1, 2**31 - 1, 2**31, 2**32 - 1)

BYTES = {FieldDescriptor.TYPE_BYTES}
TEXT = {FieldDescriptor.TYPE_STRING}
BITS = {
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
}

NAMES = ("", "rng", "dockercoins.rng.v1.RngService", "dockercoins.hasher.v1.HasherService", "grpc.health.v1.Health")


def _values(field: Any) -> st.SearchStrategy[object]:
    if field.type in BYTES:
        lengths = st.sampled_from([length for length in BOUNDS if length <= MAX_BYTES + 1])
        return st.binary(max_size=200) | lengths.map(bytes)
    if field.type in TEXT:
        return st.text(max_size=60) | st.sampled_from(NAMES)
    if field.type in BITS:
        least, most = BITS[field.type]
        bounds = [number for number in (*BOUNDS, least, most) if least <= number <= most]
        return st.sampled_from(bounds) | st.integers(least, most) | st.integers(0, 100)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    return messages(GetMessageClass(field.message_type))


def messages(of: type[Message]) -> st.SearchStrategy[Message]:
    """Each field set or not."""
    fields = {field.name: _values(field) for field in of.DESCRIPTOR.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda values: of(**values))


def encoded(of: type[Message]) -> st.SearchStrategy[bytes]:
    """Most are of the type."""
    right = messages(of).map(lambda message: message.SerializeToString())
    changed = st.tuples(right, st.integers(0, 200), st.binary(max_size=20)).map(
        lambda parts: parts[0][: parts[1]] + parts[2]
    )
    return right | right | changed | st.binary(max_size=100)
