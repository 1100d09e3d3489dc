"""Replicas of rng or of hasher as real processes, which a worker finds by a name server.

They limit the speed by waiting and not by CPU: on two cores more replicas that compute would add nothing, and any
balancing would look good.
"""

import signal
import time
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from pathlib import Path

from support.dns_server import DnsServer
from support.free_port import free_port
from support.service_process import ServiceProcess, ServiceProcesses

NUMBERS = (1, 2, 3)


class ServerLog:
    """Which batches a service completed, by its own account: all replicas append time, replica, client and batch id."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._offset = 0
        self._completed: dict[str, set[int]] = defaultdict(set)
        # When, by which replica, and whether it was the first time.
        self._entries: list[tuple[float, str, bool]] = []

    def _update(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            lines, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(lines) + len(newline)
        for line in lines.decode().splitlines():
            moment, replica, client, batch = line.split()
            # A replica that was frozen between a look at the clock and writing is late.
            insort(self._entries, (float(moment), replica, int(batch) not in self._completed[client]))
            self._completed[client].add(int(batch))

    @property
    def completed(self) -> dict[str, set[int]]:
        """The ids of the batches, by client."""
        self._update()
        return self._completed

    @property
    def repeated(self) -> int:
        """How often a batch was completed once more."""
        self._update()
        return sum(not is_first for *_, is_first in self._entries)

    def _between(self, begin: float, end: float) -> list[tuple[float, str, bool]]:
        self._update()
        return self._entries[bisect_left(self._entries, (begin,)) : bisect_left(self._entries, (end,))]

    def speed(self, begin: float, end: float) -> float:
        """Return the batches per second, each counted once."""
        return sum(is_first for *_, is_first in self._between(begin, end)) / (end - begin)

    def slowest(self, begin: float, end: float, window_s: float) -> float:
        """Return the lowest speed of any such window."""
        starts = [begin + step / 20 for step in range(int((end - begin - window_s) * 20) + 1)]
        return min(self.speed(start, start + window_s) for start in starts)

    def shares(self, begin: float, end: float) -> dict[str, float]:
        """Return the part of the batches that each replica completed; none for those that completed none."""
        counts = Counter(replica for _, replica, _ in self._between(begin, end))
        return {replica: count / counts.total() for replica, count in counts.items()}


class Replicas:
    """Up to three of one service, on addresses of their own and one port, and what DNS says of them."""

    def __init__(self, service: str, processes: ServiceProcesses, dns: DnsServer, folder: Path, delay_s: float) -> None:
        """Each replica takes `delay_s` per batch and does one at a time."""
        self.service = service
        self.log = ServerLog(folder / service)
        self.speed_of_one = 1 / delay_s if delay_s else float("inf")
        self.addresses = dns.addresses[f"{service}.test"]
        # Settings beside those of all.
        self.settings = {"DELAY": str(delay_s), "CONCURRENCY": "1"} if delay_s else {}
        self._processes = processes
        self._port = free_port()
        self._started = 0
        self.target = dns.target(f"{service}.test", self._port)
        self.running: dict[int, ServiceProcess] = {}
        self.frozen: set[int] = set()

    @property
    def absent(self) -> list[int]:
        return [number for number in NUMBERS if number not in self.running]

    @property
    def live(self) -> list[int]:
        """Those that run and are not frozen."""
        return [number for number in self.running if number not in self.frozen]

    def start(self, *numbers: int, **settings: str) -> list[str]:
        """Start these, wait until they listen, and add them to DNS. Return their names, new ones each time."""
        say(f"start {self.service} {numbers}")
        for number in numbers:
            self._started += 1
            self.running[number] = self._processes.start(
                "system.discovery.logging_server",
                SERVICE=self.service,
                SERVER_LOG=self.log.path,
                INSTANCE=f"{self.service}-{number}-{self._started}",
                BIND_ADDRESS=address(number),
                PORT=self._port,
                PACE="full",
                **{**self.settings, **settings},
            )
        for number in numbers:
            self.running[number].wait_until_started()
        self.addresses += [address(number) for number in numbers]
        return [self.running[number].instance for number in numbers]

    def stop(self, *numbers: int) -> float:
        """Stop these, which must end well, and remove them from DNS. Return the seconds until the last has ended."""
        say(f"stop {self.service} {numbers}")
        began = time.monotonic()
        for number in numbers:
            self.running[number].send(signal.SIGTERM)
        for number in numbers:
            assert self.running[number].popen.wait(10) == 0, self.running[number].text
        took = time.monotonic() - began
        self._forget(*numbers)
        return took

    def kill(self, *numbers: int) -> None:
        say(f"kill {self.service} {numbers}")
        for number in numbers:
            self.running[number].kill()
        self._forget(*numbers)

    def _forget(self, *numbers: int) -> None:
        for number in numbers:
            del self.running[number]
            self.frozen.discard(number)
            self.hide(number)

    def hide(self, number: int) -> None:
        """Remove a replica from DNS, if it is there."""
        if address(number) in self.addresses:
            self.addresses.remove(address(number))

    def freeze(self, number: int) -> None:
        """Stop its clock. DNS goes on naming it, as an engine does with a paused container."""
        say(f"freeze {self.service} {number}")
        self.frozen.add(number)
        self.running[number].send(signal.SIGSTOP)

    def unfreeze(self, number: int) -> None:
        say(f"unfreeze {self.service} {number}")
        self.frozen.discard(number)
        self.running[number].send(signal.SIGCONT)


def address(number: int) -> str:
    return f"127.0.0.{10 + number}"


def say(text: str) -> None:
    """Print what happens and what was measured, which pytest shows for a test that fails, or with -rP."""
    print(f"{time.monotonic():.2f} {text}", flush=True)  # noqa: T201
