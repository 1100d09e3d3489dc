"""The whole system as real processes, in which the worker finds the rngs by a real name server.

The rngs are the limit by waiting and not by CPU: on two cores more replicas that compute would add nothing, and any
balancing would look good.
"""

import time
from collections.abc import Callable
from pathlib import Path

from integration.discovery.witness_file import Evidence
from support.free_port import free_port
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses, local_target

from bench.dns_server import DnsServer

DELAY = 0.02
CONCURRENCY = 2
SPEED_OF_ONE = CONCURRENCY / DELAY
"""Batches a second that an rng can do."""

BATCH_SIZE = 16
MESSAGE_SIZE = 32
WINDOW = 24
"""Batches in flight: two in work and two on their way for each of three rngs, and as many again."""

SHARE_WINDOW = 0.5
"""Seconds in which shares and speeds are counted."""

RNG = "rng.test"

TESTS = Path(__file__).parents[2]


class Mine:
    """A worker, a hasher, and rngs on 127.0.0.11, .12 and .13 with one port."""

    def __init__(self, processes: ServiceProcesses, redis: RedisServer, dns: DnsServer, folder: Path) -> None:
        self._processes = processes
        self._redis = redis
        self.dns = dns
        self._port = free_port()
        self.random = Evidence(folder / "random")
        self.hashed = Evidence(folder / "hashed")
        self._started = 0
        self.hasher = processes.start(
            "integration.discovery.witness_hasher",
            INSTANCE="hasher",
            PORT=0,
            PACE="full",
            **self._witness(self.hashed),
        )
        self.rngs: dict[int, ServiceProcess] = {}
        self.worker: ServiceProcess

    def _witness(self, evidence: Evidence) -> dict[str, object]:
        return {"WITNESS": evidence.path, "PYTHONPATH": TESTS}

    def start_rngs(self, *numbers: int) -> list[str]:
        """Start those, wait until they listen, and say so in DNS; their instances, new ones each time."""
        instances = []
        for number in numbers:
            self._started += 1
            instances.append(f"rng-{number}-{self._started}")
            self.rngs[number] = self._processes.start(
                "integration.discovery.witness_rng",
                INSTANCE=instances[-1],
                HOST=address(number),
                PORT=self._port,
                PACE="full",
                DELAY=DELAY,
                CONCURRENCY=CONCURRENCY,
                **self._witness(self.random),
            )
        for number in numbers:
            self.rngs[number].wait_until_started()
        self.dns.addresses[RNG] += [address(number) for number in numbers]
        return instances

    def forget(self, *numbers: int) -> None:
        """Say in DNS that they are gone, as an engine does once a container has ended."""
        for number in numbers:
            self.dns.addresses[RNG].remove(address(number))

    def start_worker(self) -> None:
        """Start it, and wait until it has been at full speed for a moment."""
        self.worker = self._processes.start(
            "worker",
            PACE="full",
            BATCH_SIZE=BATCH_SIZE,
            MESSAGE_SIZE=MESSAGE_SIZE,
            WINDOW=WINDOW,
            REDIS_URL=self._redis.url,
            HASHER_TARGET=local_target(self.hasher),
            RNG_TARGET=self.dns.target(RNG, self._port),
        )
        full = 0.9 * SPEED_OF_ONE * len(self.rngs)
        self.until(lambda now: self.hashed.speed(now - SHARE_WINDOW, now) >= full, limit=10)

    def until(self, condition: Callable[[float], bool], limit: float, since: float | None = None) -> float:
        """Wait for a condition on what was seen up to a moment; the seconds it took."""
        began = time.monotonic() if since is None else since
        while not condition(now := time.monotonic()):
            assert now - began < limit, f"not within {limit} s; {self.worker.text}"
            time.sleep(0.02)
        return now - began

    def until_shared(self, instances: list[str], limit: float, since: float) -> float:
        """Wait until each of these has a fifth of the batches, or more; the seconds it took."""

        def shared(now: float) -> bool:
            shares = self.random.shares(max(now - SHARE_WINDOW, since), now)
            return now - since > SHARE_WINDOW and all(shares.get(instance, 0) >= 0.2 for instance in instances)

        return self.until(shared, limit, since)

    def finish(self) -> None:
        """Stop the worker, and see that what it counted is in Redis, and is what was hashed, to the last hash."""
        assert self.worker.stop() == 0
        hashes = int(self._redis.client().get("hashes"))
        assert hashes == self.worker.units_logged
        assert hashes * MESSAGE_SIZE == self.hashed.distinct_bytes
        assert self.hashed.asked_again == 0


def address(number: int) -> str:
    return f"127.0.0.{10 + number}"
