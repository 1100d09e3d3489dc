"""The gRPC server of all services."""
