"""A gRPC server as every service here runs it."""
