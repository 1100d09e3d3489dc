"""The one large field of a message, with fewer copies than protobuf makes.

protobuf copies bytes when a field is set, when the message is serialized, when it is parsed and whenever the field is
read. Nearly all bytes of a batch are in one field, so here protobuf does the small fields, and the large one is put
behind them: fields may come in any order (https://protobuf.dev/programming-guides/encoding/#order).
"""

from typing import Generic, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

_WIRE_TYPE = 0b111
_VARINT = 0
_LENGTH_DELIMITED = 2

_LEAST_SIZE = 4_096
"""Bytes of a message from which copies cost more than what is done here in Python."""

_LONGEST_HEADER = 64
"""Bytes of small fields that are looked through here, one by one; longer ones are none of ours."""

_LONGEST_VARINT = 10
"""Bytes."""


class PackedField(Generic[M]):
    """A bytes field of a message type."""

    def __init__(self, message_type: type[M], name: str) -> None:
        self._type = message_type
        self._name = name
        self._key = message_type.DESCRIPTOR.fields_by_name[name].number << 3 | _LENGTH_DELIMITED
        self._encoded_key = _encode_varint(self._key)

    def encode(self, message: M, data: bytes | memoryview) -> bytes:
        """The message with the field, which is not to be set in the message itself."""
        if len(data) < _LEAST_SIZE:
            setattr(message, self._name, bytes(data))
            return message.SerializeToString()
        return b"".join((message.SerializeToString(), self._encoded_key, _encode_varint(len(data)), data))

    def decode(self, encoded: bytes) -> tuple[M, bytes, int]:
        """The message, perhaps without the field; bytes, and where in them the field begins, which it ends with.

        These are the encoded bytes themselves when the field is large and behind all others, as encode() has it;
        otherwise protobuf does everything. Raises DecodeError when this is no such message.
        """
        if len(encoded) >= _LEAST_SIZE and (found := self._find(encoded)):
            key_at, start = found
            return self._type.FromString(encoded[:key_at]), encoded, start
        message = self._type.FromString(encoded)
        return message, getattr(message, self._name), 0

    def _find(self, encoded: bytes) -> tuple[int, int] | None:
        """Where the field's key is and where its bytes begin, if these are the last and only numbers come before."""
        start = 0
        try:
            while (key_at := start) < _LONGEST_HEADER:
                key, start = _decode_varint(encoded, key_at)
                if key == self._key:
                    length, start = _decode_varint(encoded, start)
                    return (key_at, start) if start + length == len(encoded) else None
                if key & _WIRE_TYPE != _VARINT:
                    return None
                _, start = _decode_varint(encoded, start)
        except IndexError:
            pass  # protobuf says what is wrong
        return None


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _decode_varint(encoded: bytes, start: int) -> tuple[int, int]:
    """The value and where it ends. Raises IndexError where none does."""
    value = 0
    for place in range(_LONGEST_VARINT):
        byte = encoded[start + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, start + place + 1
    raise IndexError
