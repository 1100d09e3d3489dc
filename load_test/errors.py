class LoadTestError(Exception):
    """The measuring can't go on. The message is one line that says what is in the way."""


class UsageError(Exception):
    """What was asked for can't be done. The message is one line that names the value and what is allowed."""
