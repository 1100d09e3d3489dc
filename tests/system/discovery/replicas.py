"""Replicas of rng or of hasher as real processes, which a worker finds by asking a name server.

They are the limit by waiting and not by CPU: on two cores more replicas that compute would add nothing, and any
balancing would look good.
"""

import contextlib
import random
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from support.dns_server import DnsServer
from support.service_process import ServiceProcess, ServiceProcesses
from system.discovery.server_log import ServerLog

CONCURRENCY = 1
"""Batches at a time. A worker has two streams to each replica, so another batch always waits, and what a busy machine's
late timers cost is caught up."""

NUMBERS = (1, 2, 3)

PORTS = range(20_000, 32_000)
"""TCP ports that neither Linux nor macOS gives to connections or to who asks for any."""

TESTS = Path(__file__).parents[2]


class Replicas:
    """Up to three of one service on 127.0.0.11, .12 and .13 with one port, and what DNS says of them."""

    def __init__(
        self,
        service: str,
        processes: ServiceProcesses,
        dns: DnsServer,
        evidence: ServerLog,
        *,
        delay: float,
        environment: Mapping[str, str],
    ) -> None:
        """Of `rng` or `hasher`, each of which takes `delay` seconds for a batch; with 0, no longer than it needs.

        They are told what is in `environment`, too.
        """
        self.service = service
        self._processes = processes
        self._dns = dns
        self.evidence = evidence
        self._delay = delay
        self._environment = environment
        self._pace = {"DELAY": delay, "CONCURRENCY": CONCURRENCY} if delay else {}
        self._port = free_port()
        self._started = 0
        self.running: dict[int, ServiceProcess] = {}
        self.frozen: set[int] = set()

    @property
    def target(self) -> str:
        return self._dns.target(name(self.service), self._port)

    @property
    def absent(self) -> list[int]:
        return [number for number in NUMBERS if number not in self.running]

    @property
    def live(self) -> list[int]:
        """Those that run and are not frozen."""
        return [number for number in self.running if number not in self.frozen]

    @property
    def speed_of_one(self) -> float:
        """Batches a second."""
        return CONCURRENCY / self._delay

    def start(self, *numbers: int, **settings: str) -> list[str]:
        """Start those, wait until they listen, and say so in DNS; their instances, new ones each time."""
        instances = []
        for number in numbers:
            self._started += 1
            instances.append(f"{self.service}-{number}-{self._started}")
            self.running[number] = self._processes.start(
                "system.discovery.logging_server",
                SERVICE=self.service,
                INSTANCE=instances[-1],
                BIND_ADDRESS=address(number),
                PORT=self._port,
                PACE="full",
                SERVER_LOG=self.evidence.path,
                PYTHONPATH=TESTS,
                **self._pace,
                **{**self._environment, **settings},
            )
        for number in numbers:
            self.running[number].wait_until_started()
        self._dns.addresses[name(self.service)] += [address(number) for number in numbers]
        return instances

    def stop(self, *numbers: int) -> float:
        """Stop those, and see that they say they did all they had to; the seconds until the last was gone."""
        began = time.monotonic()
        for number in numbers:
            self.running[number].send(signal.SIGTERM)
        for number in numbers:
            assert self.running[number].popen.wait(10) == 0, self.running[number].text
        took = time.monotonic() - began
        self.forget(*numbers)
        return took

    def kill(self, *numbers: int) -> None:
        for number in numbers:
            self.running[number].kill()
        self.forget(*numbers)

    def forget(self, *numbers: int) -> None:
        """Say in DNS that they are gone, as an engine does once a container has ended."""
        for number in numbers:
            del self.running[number]
            self.frozen.discard(number)
            self.hide(number)

    def hide(self, number: int) -> None:
        """Have DNS name it no more, if it did."""
        addresses = self._dns.addresses[name(self.service)]
        if address(number) in addresses:
            addresses.remove(address(number))

    def freeze(self, number: int) -> None:
        """Stop its clock. DNS goes on naming it, as an engine does with a container that is paused."""
        self.frozen.add(number)
        self.running[number].send(signal.SIGSTOP)

    def unfreeze(self, number: int) -> None:
        self.frozen.discard(number)
        self.running[number].send(signal.SIGCONT)


def free_port() -> int:
    """A TCP port that is free at all addresses of replicas, and that no connection takes while one is away."""
    while True:
        port = random.choice(PORTS)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for number in NUMBERS:
                stack.enter_context(socket.create_server((address(number), port)))
            return port


def name(service: str) -> str:
    """What the name server calls a service."""
    return f"{service}.test"


def address(number: int) -> str:
    return f"127.0.0.{10 + number}"
