"""Random bytes over gRPC."""
