"""What servers answered and when, kept by somebody who is not the client."""

import time
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple, Self

import grpc

from chassis.metadata import CLIENT_ID


class Answer(NamedTuple):
    """One batch, answered."""

    moment: float
    """On the monotonic clock, which all processes share."""
    server: str
    client: str
    batch: int
    size: int
    """Bytes."""


class Witness:
    """The server's side: appends a line to a file that replicas share, before the answer goes out."""

    def __init__(self, path: Path, server: str) -> None:
        self._file = path.open("ab", buffering=0)
        self._server = server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note(self, context: "grpc.aio.ServicerContext[Any, Any]", batch: int, size: int) -> None:
        """Say that a batch of so many bytes is answered; its client must have named itself."""
        client = str(dict(context.invocation_metadata() or ())[CLIENT_ID])
        self._file.write(f"{time.monotonic()} {self._server} {client} {batch} {size}\n".encode())


class Evidence:
    """The side of who looks on."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.path = path
        self._file = path.open("rb")
        self._answers: list[Answer] = []
        self._sizes: dict[tuple[str, int], int] = {}
        """Of each batch of each client, in bytes."""
        self._firsts: list[float] = []
        """When they were answered for the first time, sorted."""

    def close(self) -> None:
        """Read no more."""
        self._file.close()

    def _read(self) -> None:
        while (line := self._file.readline()).endswith(b"\n"):
            moment, server, client, batch, size = line.decode().split()
            answer = Answer(float(moment), server, client, int(batch), int(size))
            # One that was frozen between a look at the clock and writing comes late.
            insort(self._answers, answer)
            if (answer.client, answer.batch) not in self._sizes:
                insort(self._firsts, answer.moment)
            self._sizes[answer.client, answer.batch] = answer.size
        self._file.seek(-len(line), 1)  # half a line is read again when it is whole

    @property
    def answers(self) -> list[Answer]:
        """All so far, in the order of time."""
        self._read()
        return self._answers

    def between(self, begin: float, end: float) -> list[Answer]:
        """Those of a time."""
        answers = self.answers
        return answers[bisect_left(answers, begin, key=_moment) : bisect_left(answers, end, key=_moment)]

    def speed(self, begin: float, end: float) -> float:
        """Batches a second that were answered for the first time."""
        self._read()
        return (bisect_left(self._firsts, end) - bisect_left(self._firsts, begin)) / (end - begin)

    def slowest(self, begin: float, end: float, window: float) -> float:
        """The lowest speed of any window in that time."""
        starts = [begin + step / 20 for step in range(int((end - begin - window) * 20) + 1)]
        return min(self.speed(start, start + window) for start in starts)

    def shares(self, begin: float, end: float) -> dict[str, float]:
        """Each server's part of the answers, by its instance; nothing for who gave none."""
        counts = Counter(answer.server for answer in self.between(begin, end))
        return {server: count / counts.total() for server, count in counts.items()}

    @property
    def asked_again(self) -> int:
        """Batches answered more than once."""
        counts = Counter((answer.client, answer.batch) for answer in self.answers)
        return sum(count > 1 for count in counts.values())

    @property
    def batches(self) -> dict[str, set[int]]:
        """The batches that were answered, for each client."""
        self._read()
        batches: dict[str, set[int]] = defaultdict(set)
        for client, batch in self._sizes:
            batches[client].add(batch)
        return batches

    @property
    def distinct_bytes(self) -> int:
        """Of all batches, each once."""
        self._read()
        return sum(self._sizes.values())


def _moment(answer: Answer) -> float:
    return answer.moment
