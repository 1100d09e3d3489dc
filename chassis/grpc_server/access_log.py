"""The access log: one line per request of a peer, or one per second for a peer that sends many."""

import logging
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from chassis import log

# A peer that sends more requests than this in one second gets one line for the others, and then one per second.
MAX_LINES = 10

# Peers beyond this number in one second share their lines, since clients choose their names themselves.
MAX_PEERS = 32
OTHERS = "others"

# Lines leave out the scheme of a peer's address, and the digits that a worker's id has after its instance.
_LONG = re.compile(r"^ipv[46]:|-[0-9a-f]{8}$")

# Describes what was done with this number of messages, which have this number of bytes together.
Describe = Callable[[int, int], str]

# What the last response of this task contains: of each batch, or of a unary call, the messages and their bytes.
# Servicers set it.
work: ContextVar[Sequence[tuple[int, int]]] = ContextVar("work", default=((0, 0),))


@dataclass(slots=True)
class _Second:
    """The requests of one peer in the current second."""

    requests: int = 0
    # Whether they were too many in the second before.
    throttled: bool = False
    # What has no line yet, and the seconds that it took.
    held_back: int = 0
    messages: int = 0
    bytes: int = 0
    seconds: float = 0.0


class AccessLog:
    """Logs the requests that were served. A batch of a stream counts as a request."""

    def __init__(self, describe: Describe) -> None:
        self._describe = describe
        self._enabled = log.get().is_enabled_for(logging.INFO)
        self._peers: dict[str, _Second] = {}

    def add(self, peer: str, seconds: float) -> None:
        """Log the `work` of a response that took this long, or keep it for the line of this second."""
        if not self._enabled:
            return
        batches = work.get()
        requests = len(batches)
        messages, size = batches[0] if requests == 1 else map(sum, zip(*batches, strict=True))
        second = self._peers.get(peer)
        if second is None:
            peer = peer if len(self._peers) < MAX_PEERS else OTHERS
            second = self._peers.setdefault(peer, _Second())
        second.requests += requests
        if second.throttled or second.requests > MAX_LINES:
            second.held_back += requests
            second.messages += messages
            second.bytes += size
            second.seconds += seconds
        else:
            self._write(peer, requests, messages, size, seconds)

    def flush(self) -> None:
        """Log what is held back. The server calls this once a second."""
        for peer, second in list(self._peers.items()):
            if second.held_back:
                self._write(peer, second.held_back, second.messages, second.bytes, second.seconds)
            if second.requests:
                self._peers[peer] = _Second(throttled=second.requests > MAX_LINES)
            else:
                del self._peers[peer]

    def _write(self, peer: str, requests: int, messages: int, size: int, seconds: float) -> None:
        took = _milliseconds(seconds) if requests == 1 else f"{requests:,} requests"
        event = f"{self._describe(messages, size)} in {took} for {_LONG.sub('', peer)}"
        figures = {"requests": requests, "messages": messages, "bytes": size, "seconds": round(seconds, 6)}
        log.get().info(event, figures={"peer": peer, **figures})


def _milliseconds(seconds: float) -> str:
    return f"{1_000 * seconds:.{0 if seconds >= 0.01 else 1}f} ms"
