"""How much is kept in Redis for the page, the same for who writes it and who reads it."""

MAX_REPLICAS = 64
"""Replicas of a service that a worker lists, so that what it says stays small."""

MAX_REPORT_INTERVAL = 60
"""Seconds between two reports of a worker."""

MAX_LATEST_COINS = 8
"""Coins that a worker shows with a report."""

MAX_LOAD_TESTS = 5
"""Reports of load tests that are kept."""

MAX_LOAD_TEST_BYTES = 256 * 1024
"""Of a report: all of them are sent to whoever opens the page."""
