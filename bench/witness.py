"""What servers answered and when, kept by somebody who is not the client."""

import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple, Self


class Answer(NamedTuple):
    """One batch, answered."""

    moment: float
    """On the monotonic clock, which all processes share."""
    server: str


class Witness:
    """The server's side: appends a line to a file that replicas share, before the answer goes out."""

    def __init__(self, path: Path, server: str) -> None:
        self._file = path.open("ab", buffering=0)
        self._server = server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note(self) -> None:
        """Say that a batch is answered."""
        self._file.write(f"{time.monotonic()} {self._server}\n".encode())


class Evidence:
    """The side of who measures."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.path = path
        self._file = path.open("rb")
        self._answers: list[Answer] = []

    def close(self) -> None:
        """Read no more."""
        self._file.close()

    def between(self, begin: float, end: float) -> list[Answer]:
        """The answers of a time."""
        while (line := self._file.readline()).endswith(b"\n"):
            moment, server = line.decode().split()
            self._answers.append(Answer(float(moment), server))
        self._file.seek(-len(line), 1)  # half a line is read again when it is whole
        return [answer for answer in self._answers if begin <= answer.moment < end]

    def speed(self, begin: float, end: float) -> float:
        """Batches a second."""
        return len(self.between(begin, end)) / (end - begin)

    def shares(self, begin: float, end: float) -> dict[str, float]:
        """Each server's part of the batches; nothing for who had none."""
        counts = Counter(answer.server for answer in self.between(begin, end))
        return {server: count / counts.total() for server, count in counts.items()}
