"""Limits of a batch and of a gRPC message with several batches, for clients and servers, and the check of a request.

Two MiB of payload stay, with the message around them, below the 4 MiB that every gRPC implementation receives by
default, in both directions.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

# Batches in one gRPC message.
MAX_BATCHES = 64

MAX_BATCH_MESSAGES = 65_536

# Random bytes of a batch, and of a single message.
MAX_BATCH_BYTES = 2 * 1024 * 1024

# Bytes of a SHA-256 digest.
DIGEST_SIZE = 32


class BadRequestError(Exception):
    """A field of a request has a value that is not allowed, so a retry would fail."""

    def __init__(self, field: str, value: object, allowed: str, batch_id: int | None = None) -> None:
        """Take the batch that the field belongs to, if it is one of a stream's."""
        super().__init__(f"{field}: {value} is not allowed, it must be {allowed}")
        self.field = field
        self.batch_id = batch_id
        self._value = value
        self._allowed = allowed

    def within(self, batch: str, batch_id: int) -> "BadRequestError":
        """Return the error with the field's path in the request, such as `batches[3].count`."""
        return BadRequestError(f"{batch}.{self.field}", self._value, self._allowed, batch_id)


class StreamedBatch(Protocol):
    """A batch of any stream."""

    @property
    def batch_id(self) -> int:
        """The client's number for it."""


B = TypeVar("B", bound=StreamedBatch)


def check_batches(batches: Sequence[B], measure: Callable[[B], tuple[int, int]]) -> list[tuple[int, int]]:
    """Check all batches of a request, and return the messages and bytes of each, as `measure` does for one.

    Raises BadRequestError for the first batch for which `measure` does, for too many batches and for none, and if they
    are larger together than one batch may be.
    """
    if not 1 <= len(batches) <= MAX_BATCHES:
        raise BadRequestError("batches", len(batches), f"1 to {MAX_BATCHES} batches")
    measured = []
    for index, batch in enumerate(batches):
        try:
            measured.append(measure(batch))
        except BadRequestError as error:
            raise error.within(f"batches[{index}]", batch.batch_id) from None
    if len(measured) == 1:  # which is most requests, and was checked by itself
        return measured
    all_messages, all_bytes = map(sum, zip(*measured, strict=True))
    if all_messages > MAX_BATCH_MESSAGES:
        raise BadRequestError("batches", f"{all_messages} messages", f"at most {MAX_BATCH_MESSAGES} messages together")
    if all_bytes > MAX_BATCH_BYTES:
        raise BadRequestError("batches", f"{all_bytes} bytes", f"at most {MAX_BATCH_BYTES} bytes together")
    return measured
