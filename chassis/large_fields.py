"""Messages with a large `bytes` field, encoded with fewer copies and fewer page faults.

protobuf copies bytes when a field is set and once more when the message is encoded. Nearly all bytes of a batch are in
one field, so protobuf encodes the other fields, and the large one is put behind them: fields may come in any order
(https://protobuf.dev/programming-guides/encoding/#order). Any protobuf library decodes the result as usual.
"""

import ctypes
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

# Up to here protobuf alone is as fast: 2,048 messages of 32 bytes.
MIN_LARGE_BYTES = 64 * 1024

_LENGTH_DELIMITED = 2

# Options of glibc's mallopt(), see malloc.h. A message of 2 MiB is some blocks of that size.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MAX_KEPT_BYTES = 64 * 1024 * 1024
_MAX_BLOCK_BYTES = 32 * 1024 * 1024


def with_large_field(message: M, name: str, data: bytes | memoryview) -> M:
    """Return the message with this bytes field. It is only to be encoded, by its SerializeToString()."""
    if len(data) < MIN_LARGE_BYTES:
        setattr(message, name, bytes(data))
        return message
    return cast("M", _LargeMessage(message, name, data))


class _LargeMessage:
    __slots__ = ("_data", "_message", "_name")

    def __init__(self, message: Message, name: str, data: bytes | memoryview) -> None:
        self._message = message
        self._name = name
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)

    def SerializeToString(self) -> bytes:  # noqa: N802 - as protobuf has it
        key = self._message.DESCRIPTOR.fields_by_name[self._name].number << 3 | _LENGTH_DELIMITED
        head = self._message.SerializeToString()
        return b"".join((head, encode_varint(key), encode_varint(len(self._data)), self._data))


def encode_varint(value: int) -> bytes:
    """Encode a number as protobuf does."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def keep_freed_memory() -> None:
    """Have the C library keep the memory of a message for the next one.

    By default glibc returns it to the system and gets it back, page by page, for each large message. Other C libraries
    have no such option.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAX_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _MAX_KEPT_BYTES)
