"""Limits of a batch and of a gRPC message with several batches, for clients and servers.

Two MiB of payload stay, with the message around them, below the 4 MiB that every gRPC implementation receives by
default, in both directions.
"""

# Batches in one gRPC message.
MAX_BATCHES = 64

MAX_BATCH_MESSAGES = 65_536

# Random bytes of a batch, and of a single message.
MAX_BATCH_BYTES = 2 * 1024 * 1024

# Bytes of a SHA-256 digest.
DIGEST_SIZE = 32
