from enum import StrEnum


class Format(StrEnum):
    """What a report can be written as."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
