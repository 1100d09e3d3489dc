"""What clients and servers say beside their messages. Clients import this, so it needs nothing that servers need."""

SERVED_BY = "served-by"
"""Initial metadata that names the server."""

MAX_NAME = 63
"""Characters of an instance's name, as the settings have it; whoever is at the other end may send anything."""

CLIENT_ID = "client-id"
"""Metadata of a request by which a server's log names its client."""

STREAM_ID = "stream-id"
"""Metadata of a request by which both sides' logs name a stream: a number, each time another for one client."""

TRACEPARENT = "traceparent"
"""Metadata of a single call, and a field of a stream's requests, by which a trace goes on in the server."""
