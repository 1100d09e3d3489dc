"""How large a batch is, the same for who asks and who answers.

Two MiB of payload stay, with the message around them, below the 4 MiB that every gRPC implementation receives by
default, in both directions.
"""

MAX_BATCH_COUNT = 65_536
"""Messages a batch."""

MAX_BATCH_BYTES = 2 * 1024 * 1024
"""Bytes of random data a batch, and bytes of a single message."""

DIGEST_SIZE = 32
"""Bytes of a SHA-256 digest."""
