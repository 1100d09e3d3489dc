"""The whole system as real processes, in which workers find rngs and hashers by a real name server."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from re import findall

from support.certificates import Authority
from support.dns_server import DnsServer, dns_server
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcess, ServiceProcesses, service_processes
from support.waiting import LIMIT_S, wait_until
from system.discovery.replicas import Replicas

BATCH_SIZE = 16

# Two batches in work and two on their way for each of three replicas, and as many again.
WINDOW_SIZE = 24

# In which shares and speeds are counted.
SHARE_WINDOW_S = 0.5

# How long a line about what broke is held back at most, and what a replica that was frozen responds to late.
SETTLING_S = 1.5

# What a worker logs that was stopped while it got no responses.
GIVEN_UP = "batches without a response are not counted"


class Mine:
    """Workers, rngs and hashers. Services with a delay are the limit; of another one there is one replica."""

    def __init__(
        self, processes: ServiceProcesses, redis: RedisServer, dns: DnsServer, folder: Path, **delays_s: float
    ) -> None:
        self._processes = processes
        self.redis = redis
        self.dns = dns
        self.services = self.rngs, self.hashers = [
            Replicas(service, processes, dns, folder, delays_s.get(service, 0)) for service in ("rng", "hasher")
        ]
        self.limits = [replicas for replicas in self.services if replicas.service in delays_s]
        self.workers: list[ServiceProcess] = []
        self.worker_settings: dict[str, object] = {
            "PACE": "full",
            "BATCH_SIZE": BATCH_SIZE,
            "WINDOW_SIZE": WINDOW_SIZE,
            "REDIS_URL": redis.url,
            "RNG_TARGET": self.rngs.target,
            "HASHER_TARGET": self.hashers.target,
        }

    @property
    def worker(self) -> ServiceProcess:
        """The newest one."""
        return self.workers[-1]

    @property
    def speed(self) -> float:
        """Batches per second, of late."""
        now = time.monotonic()
        return self.hashers.log.speed(now - SHARE_WINDOW_S, now)

    @property
    def full_speed(self) -> float:
        """Batches per second that the live replicas can do."""
        return min(len(limit.live) * limit.speed_of_one for limit in self.limits)

    def start_worker(self, **settings: object) -> ServiceProcess:
        for replicas in self.services:
            if replicas not in self.limits and not replicas.running:
                replicas.start(1)
        settings = {"INSTANCE": f"worker-{len(self.workers)}", **self.worker_settings, **settings}
        self.workers.append(self._processes.start("worker", **settings))
        self.worker.wait_until_started()  # before that a signal would end it as any program
        return self.worker

    def until_full_speed(self, limit_s: float = LIMIT_S) -> None:
        wait_until(lambda: self.speed >= 0.9 * self.full_speed, limit_s, lambda: self.worker.text)

    def until_shared(self, replicas: list[str], limit_s: float = LIMIT_S) -> float:
        """Wait until each of these has a fifth of its service's batches from now on. Return the seconds it took."""
        began = time.monotonic()

        def shared() -> bool:
            now = time.monotonic()
            begin = max(now - SHARE_WINDOW_S, began)
            shares = {**self.rngs.log.shares(begin, now), **self.hashers.log.shares(begin, now)}
            return now - began > SHARE_WINDOW_S and all(shares.get(replica, 0) >= 0.2 for replica in replicas)

        return wait_until(shared, limit_s, lambda: self.worker.text)

    def recovered_after(self, since: float) -> float:
        """Return the seconds until the live replicas do nine tenths of what they can, then and on average until now."""
        begin, until = since, time.monotonic()
        speed, enough = self.hashers.log.speed, 0.9 * self.full_speed
        while min(speed(begin, begin + SHARE_WINDOW_S), speed(begin, until)) < enough:
            begin += 0.05
            assert begin + SHARE_WINDOW_S <= until, "not recovered yet"
        return begin - since

    def start(self, *numbers: int) -> list[str]:
        """Start these replicas of each service that is a limit, at the same time. Return their names."""
        with ThreadPoolExecutor(2) as executor:
            started = executor.map(lambda limit: limit.start(*numbers), self.limits)
        return [replica for each in started for replica in each]

    def stop(self, *numbers: int) -> float:
        """Stop these replicas of each service that is a limit. Return the seconds until the last has ended."""
        with ThreadPoolExecutor(2) as executor:
            seconds: list[float] = list(executor.map(lambda limit: limit.stop(*numbers), self.limits))
        return max(seconds)

    @contextlib.contextmanager
    def nothing_retried(self) -> Iterator[None]:
        """Check that no stream breaks meanwhile and no batch is completed twice."""

        def counts() -> tuple[int, int, int]:
            return self.rngs.log.repeated, self.hashers.log.repeated, self.worker.text.count("stream broken")

        time.sleep(SETTLING_S)
        before = counts()
        yield
        assert counts() == before, self.worker.text

    def finish(self) -> None:
        """Stop the workers and check that everything was counted once, to the last hash.

        Some replicas of both services must live, so that every batch gets its response. A worker that has just started
        has as long for its last report as any other, but is not connected to Redis yet.
        """
        wait_until(lambda: self.redis.hashes)
        for worker in self.workers:
            if worker.popen.poll() is None:
                assert worker.stop() == 0, worker.text
                assert GIVEN_UP not in worker.text, worker.text
        self._check_invariants()

    def _check_invariants(self) -> None:
        """Compare Redis with the logs of workers, which number batches and reports 1, 2, 3, and of hashers."""
        reports: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for _, report in self.redis.client().xrange("reports"):
            reports[report["instance"]].append((int(report["sequence"]), int(report["hashes"])))
        completed = {client.rpartition("-")[0]: batches for client, batches in self.hashers.log.completed.items()}
        assert {worker.instance for worker in self.workers} >= reports.keys() | completed.keys()
        for worker in self.workers:
            logged = [int(hashes) for hashes in findall(r"([1-9]\d*) units of work done", worker.text)]
            numbers = [sequence for sequence, _ in reports[worker.instance]]
            reported = [hashes for _, hashes in reports[worker.instance] if hashes]
            batches = completed.get(worker.instance, set())
            hashes = sum(reported)
            stopped = worker.popen.returncode == 0
            assert numbers == list(range(1, len(numbers) + 1)), worker.text
            # A worker logs a report once Redis has counted it; one that was killed may not have logged its last.
            assert logged == reported[: len(logged)], worker.text
            assert len(reported) - len(logged) <= (0 if stopped else 1), worker.text
            if stopped and GIVEN_UP not in worker.text:
                assert batches == set(range(1, len(batches) + 1)), worker.text
                assert hashes == BATCH_SIZE * len(batches), worker.text
            else:
                assert hashes <= BATCH_SIZE * len(batches), worker.text
        assert self.redis.hashes == sum(hashes for reported in reports.values() for _, hashes in reported)
        self.redis.wallet()


@contextlib.contextmanager
def mine(folder: Path, authority: Authority | None = None, **delays_s: float) -> Iterator[Mine]:
    """Provide a name server, a Redis and no services yet, which take `delays_s` per batch, by name.

    With an authority, streams are encrypted.
    """
    with (
        service_processes(folder) as processes,
        redis_server(folder / "redis") as redis,
        dns_server("rng.test", "hasher.test") as dns,
    ):
        made = Mine(processes, redis, dns, folder, **delays_s)
        if authority is not None:
            for replicas in made.services:
                replicas.settings |= authority.issue(replicas.service)
            made.worker_settings |= authority.issue("worker")
        yield made
