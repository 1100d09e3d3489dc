from typing import Any

import grpc

from chassis.metadata import CLIENT_ID, STREAM_ID

MAX_DIGITS = 18
"""Of the number of a stream; whoever calls may send anything."""


def caller(context: "grpc.aio.ServicerContext[Any, Any]") -> dict[str, str | int]:
    """Whose call it is, as log fields: a worker gives its own name, and a number to each of its streams."""
    metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
    fields: dict[str, str | int] = {"peer": metadata.get(CLIENT_ID) or context.peer()}
    stream = metadata.get(STREAM_ID, "")
    if stream.isdecimal() and len(stream) <= MAX_DIGITS:
        fields["stream"] = int(stream)
    return fields
