"""The load test: the worker's own pipeline, measured at many batch sizes."""


class LoadTestError(Exception):
    """The load test can't go on. The message is one line with the cause."""


class UsageError(Exception):
    """An argument is not allowed. The message is one line that names the value and what is allowed."""
