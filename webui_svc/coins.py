"""The coins that one worker found last, as it says in its own key."""

import re
from dataclasses import dataclass

from chassis.stored import MAX_LATEST_COINS
from webui_svc import stored_json
from webui_svc.stored_json import MalformedJsonError

MOST_BYTES = 4_096

MOST_BITS = 256

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LAST_SECOND = 1e11


@dataclass(frozen=True, slots=True)
class Coin:
    """A digest in hex, and when it was found in Unix seconds."""

    digest: str
    at: float


@dataclass(frozen=True, slots=True)
class Found:
    """The leading zero bits that make a coin, and the latest ones, oldest first."""

    bits: int
    latest: tuple[Coin, ...]


def parse(raw: bytes) -> Found:
    """What was found. Raises MalformedJsonError when it can't be told."""
    data = stored_json.parse(raw, MOST_BYTES)
    bits = stored_json.whole(data, "bits", MOST_BITS)
    latest = []
    for pair in stored_json.array(data, "latest", MAX_LATEST_COINS):
        if not isinstance(pair, list) or len(pair) != 2:
            raise MalformedJsonError("latest: a coin is no digest and time")
        coin = {"digest": pair[0], "at": pair[1]}
        latest.append(Coin(stored_json.text(coin, "digest", _DIGEST), stored_json.number(coin, "at", _LAST_SECOND)))
    return Found(bits, tuple(latest))
