from typing import Any

import grpc

from chassis.metadata import CLIENT_ID, STREAM_ID


def caller(context: "grpc.aio.ServicerContext[Any, Any]") -> dict[str, str]:
    """Whose call it is, as log fields: a worker gives its own name, and a number to each of its streams."""
    metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
    fields = {"peer": metadata.get(CLIENT_ID) or context.peer()}
    if STREAM_ID in metadata:
        fields["stream"] = metadata[STREAM_ID]
    return fields
