from typing import Any

import grpc

from chassis.grpc_options import CLIENT_ID, MAX_NAME, STREAM_ID

MAX_DIGITS = 18
"""Of the number of a stream; whoever calls may send anything."""

MAX_PEER = MAX_NAME + 9
"""Characters that are logged of what a client calls itself: a worker adds a hyphen and 8 digits to its instance."""


def caller(context: "grpc.aio.ServicerContext[Any, Any]") -> dict[str, str | int]:
    """Whose call it is, as log fields: a worker gives its own name, and a number to each of its streams."""
    metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
    fields: dict[str, str | int] = {"peer": metadata.get(CLIENT_ID, "")[:MAX_PEER] or context.peer()}
    stream = metadata.get(STREAM_ID, "")
    if stream.isdecimal() and len(stream) <= MAX_DIGITS:
        fields["stream"] = int(stream)
    return fields
