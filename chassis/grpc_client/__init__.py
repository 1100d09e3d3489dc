"""A gRPC client as worker runs it."""
