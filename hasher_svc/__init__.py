"""SHA-256 over gRPC."""
