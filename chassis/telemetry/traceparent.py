"""How a span is named to another process: W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/)."""

import re
from typing import NamedTuple, Self

# A later version may have more fields behind these; version ff is no version, and ids of zeros are none.
_PATTERN = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?"
)

_SAMPLED = 1


class TraceParent(NamedTuple):
    """A span of some process."""

    trace_id: int
    """128 bits."""
    span_id: int
    """64 bits."""
    flags: int
    """8 bits."""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """From a `traceparent`; None when it is none, which is to be taken as if there were none."""
        match = _PATTERN.fullmatch(text)
        if match is None or (match["version"] == "00" and match["more"]):
            return None
        return cls(int(match["trace"], 16), int(match["span"], 16), int(match["flags"], 16))

    @property
    def sampled(self) -> bool:
        """Whether that process records it."""
        return bool(self.flags & _SAMPLED)

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}"
