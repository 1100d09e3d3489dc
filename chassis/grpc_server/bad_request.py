"""Checks the batches of a request, and refuses invalid requests with details that a program can read.

The details are google.rpc.BadRequest (https://google.aip.dev/193) in the status's `grpc-status-details-bin`.
"""

from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol, TypeVar

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from chassis.batch_limits import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, MAX_BATCHES


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
    all_messages, all_bytes = map(sum, zip(*measured, strict=True))
    if all_messages > MAX_BATCH_MESSAGES:
        raise BadRequestError("batches", f"{all_messages} messages", f"at most {MAX_BATCH_MESSAGES} messages together")
    if all_bytes > MAX_BATCH_BYTES:
        raise BadRequestError("batches", f"{all_bytes} bytes", f"at most {MAX_BATCH_BYTES} bytes together")
    return measured


async def abort(context: "grpc.aio.ServicerContext[object, object]", error: BadRequestError) -> NoReturn:
    """End the call with INVALID_ARGUMENT, and keep the connection open for others."""
    details = any_pb2.Any()
    violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=str(error))
    details.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    status = rpc_status.to_status(
        status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=str(error), details=[details])
    )
    await context.abort(status.code, status.details, status.trailing_metadata)
    raise AssertionError  # abort() has raised
