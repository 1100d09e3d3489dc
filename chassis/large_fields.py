"""Messages with a large `bytes` field, encoded and decoded with fewer copies and fewer page faults.

protobuf copies bytes when a field is set and once more when the message is encoded. Nearly all bytes of a batch are in
one field, so protobuf encodes the other fields, and the large one is put behind them: fields may come in any order
(https://protobuf.dev/programming-guides/encoding/#order). Any protobuf library decodes the result as usual. Here, the
large field of such a message is a view of the encoded one; protobuf would copy it twice.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

# Up to here protobuf alone is as fast: 2,048 messages of 32 bytes.
MIN_LARGE_BYTES = 64 * 1024

# The other fields of a message with a large one take less. What a client sends is not searched any further.
_MAX_HEAD_BYTES = 256

_BATCHES = "batches"
_VARINT = 0
_LENGTH_DELIMITED = 2

# Options of glibc's mallopt(), see malloc.h. A message of 2 MiB is some blocks of that size.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MAX_KEPT_BYTES = 64 * 1024 * 1024
_MAX_BLOCK_BYTES = 32 * 1024 * 1024


def with_large_field(message: M, name: str, values: Sequence[bytes | memoryview]) -> M:
    """Return the message with this bytes field in its batches. It is only to be encoded, by its SerializeToString().

    A large batch is to be the only one of its message; among others, it is encoded by protobuf.
    """
    batches = getattr(message, _BATCHES)
    if len(values) == 1 and len(values[0]) >= MIN_LARGE_BYTES:
        return cast("M", _OneBatch(message, _LargeMessage(batches[0], name, values[0])))
    for batch, value in zip(batches, values, strict=True):
        setattr(batch, name, bytes(value))
    return message


def parse(deserialize: Callable[[bytes], M], encoded: bytes) -> M:
    """Return a message. A large field of bytes at its end, or at the end of its only batch, is a view of `encoded`.

    Raises DecodeError as `deserialize` does.
    """
    if len(encoded) >= MIN_LARGE_BYTES:
        parsed = _parse_large(deserialize(b""), memoryview(encoded))
        if parsed is not None:
            return cast("M", parsed)
    return deserialize(encoded)


def _parse_large(message: Message, view: memoryview) -> "_LargeMessage | _OneBatch | None":
    found = _find_large_field(view)
    field = None if found is None else message.DESCRIPTOR.fields_by_number.get(found[1])
    if found is None or field is None:
        return None
    begin, _, value = found
    if field.name == _BATCHES and begin == 0:
        batch = _parse_large(getattr(message, _BATCHES).add(), view[value:])
        return _OneBatch(message, batch) if isinstance(batch, _LargeMessage) else None
    if field.is_repeated or field.type != FieldDescriptor.TYPE_BYTES:
        return None
    message.ParseFromString(bytes(view[:begin]))
    return _LargeMessage(message, field.name, view[value:])


def _find_large_field(view: memoryview) -> tuple[int, int, int] | None:
    """Return where a large last field begins, its number, and where its value begins."""
    position = 0
    while position < _MAX_HEAD_BYTES:
        begin = position
        key, position = _decode_varint(view, position)
        length, position = _decode_varint(view, position)
        if key & 7 == _LENGTH_DELIMITED:
            if length >= MIN_LARGE_BYTES and position + length == len(view):
                return begin, key >> 3, position
            position += length
        elif key & 7 != _VARINT:
            break
    return None


class _LargeMessage:
    __slots__ = ("_data", "_message", "_name")

    def __init__(self, message: Message, name: str, data: bytes | memoryview) -> None:
        self._message = message
        self._name = name
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return self._data if name == self._name else getattr(self._message, name)

    def parts(self) -> tuple[bytes, bytes | memoryview]:
        """Return what is before the large field when the message is encoded, and the field."""
        return self._message.SerializeToString() + _prefix(self._message, self._name, len(self._data)), self._data


class _OneBatch:
    __slots__ = ("_message", "batches")

    def __init__(self, message: Message, batch: _LargeMessage) -> None:
        self._message = message
        self.batches = (batch,)

    def SerializeToString(self) -> bytes:  # noqa: N802 - as protobuf has it
        head, data = self.batches[0].parts()
        return b"".join((_prefix(self._message, _BATCHES, len(head) + len(data)), head, data))


def _prefix(message: Message, name: str, length: int) -> bytes:
    """Return what precedes the bytes of a field."""
    key = message.DESCRIPTOR.fields_by_name[name].number << 3 | _LENGTH_DELIMITED
    return encode_varint(key) + encode_varint(length)


def encode_varint(value: int) -> bytes:
    """Encode a number as protobuf does."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _decode_varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return a number, and the position behind it."""
    value = shift = 0
    while True:
        byte = view[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte <= 0x7F or shift > 63:
            return value, position


def keep_freed_memory() -> None:
    """Have the C library keep the memory of a message for the next one.

    By default glibc returns it to the system and gets it back, page by page, for each large message. Other C libraries
    have no such option.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAX_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _MAX_KEPT_BYTES)
