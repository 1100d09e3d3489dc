"""Refuses invalid requests with details that a program can read.

The details are google.rpc.BadRequest (https://google.aip.dev/193) in the status's `grpc-status-details-bin`.
"""

from typing import NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status


class BadRequestError(Exception):
    """A field of a request has a value that is not allowed, so a retry would fail."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}: {value} is not allowed, it must be {allowed}")
        self.field = field


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
