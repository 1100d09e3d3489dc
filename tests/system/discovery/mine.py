"""The whole system as real processes, in which workers find rngs and hashers by a real name server."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.admin_endpoint import scrape
from support.dns_server import DnsServer, dns_server
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcess, ServiceProcesses, service_processes
from system.discovery.accounts import GIVEN_UP, Accounts
from system.discovery.replicas import Replicas, name
from system.discovery.server_log import ServerLog

DELAY = 0.01
BATCH_SIZE = 16

WINDOW = 24
"""Batches in flight: two in work and two on their way for each of three replicas, and as many again."""

SHARE_WINDOW = 0.5
"""Seconds in which shares and speeds are counted."""

START_LIMIT = 30.0
"""Seconds."""


class Mine:
    """Workers, rngs and hashers. Those that are given a delay are the limit; of the others one is enough."""

    def __init__(
        self,
        processes: ServiceProcesses,
        redis: RedisServer,
        dns: DnsServer,
        random: ServerLog,
        hashed: ServerLog,
        *,
        environments: Mapping[str, Mapping[str, str]],
        **delays: float,
    ) -> None:
        self._processes = processes
        self.redis = redis
        self.dns = dns
        self.random = random
        self.hashed = hashed
        self._environments = environments
        self.rngs, self.hashers = (
            Replicas(
                service,
                processes,
                dns,
                evidence,
                delay=delays.get(service, 0),
                environment=environments.get(service, {}),
            )
            for service, evidence in (("rng", random), ("hasher", hashed))
        )
        self.limits = [replicas for replicas in (self.rngs, self.hashers) if replicas.service in delays]
        for replicas in (self.rngs, self.hashers):
            if replicas not in self.limits:
                replicas.start(1)
        self.workers: list[ServiceProcess] = []

    @property
    def limit(self) -> Replicas:
        """The only one."""
        (limit,) = self.limits
        return limit

    @property
    def worker(self) -> ServiceProcess:
        """The one started last."""
        return self.workers[-1]

    @property
    def full_speed(self) -> float:
        """Batches a second that those which live can do."""
        return min(len(limit.live) * limit.speed_of_one for limit in self.limits)

    def start_worker(self, **settings: object) -> ServiceProcess:
        environment: dict[str, object] = {
            "PACE": "full",
            "BATCH_SIZE": BATCH_SIZE,
            "WINDOW_SIZE": WINDOW,
            "REDIS_URL": self.redis.url,
            "RNG_TARGET": self.rngs.target,
            "HASHER_TARGET": self.hashers.target,
            "INSTANCE": f"worker-{len(self.workers)}",
        }
        environment |= self._environments.get("worker", {})
        self.workers.append(self._processes.start("worker", **{**environment, **settings}))
        self.worker.wait_until_started()  # before that a signal would end it as any program
        return self.worker

    def until_full_speed(self, limit: float = START_LIMIT) -> None:
        """Wait until all that live are busy."""
        enough = 0.9 * self.full_speed
        self.until(lambda now: self.hashed.speed(now - SHARE_WINDOW, now) >= enough, limit)

    def until(self, condition: Callable[[float], bool], limit: float, since: float | None = None) -> float:
        """Wait for a condition on what was seen up to a moment; the seconds it took."""
        began = time.monotonic() if since is None else since
        while not condition(now := time.monotonic()):
            assert now - began < limit, f"not within {limit} s; {self.worker.text}"
            time.sleep(0.02)
        return now - began

    def until_shared(self, instances: list[str], limit: float, since: float) -> float:
        """Wait until each of these has a fifth of its service's batches, or more; the seconds it took."""

        def shared(now: float) -> bool:
            begin = max(now - SHARE_WINDOW, since)
            shares = {**self.random.shares(begin, now), **self.hashed.shares(begin, now)}
            return now - since > SHARE_WINDOW and all(shares.get(instance, 0) >= 0.2 for instance in instances)

        return self.until(shared, limit, since)

    def recovered_after(self, since: float, until: float) -> float:
        """Seconds until those that live do nine tenths of what they can, then and on average from there on."""
        enough = 0.9 * self.full_speed
        begin = since
        while min(self.hashed.speed(begin, begin + SHARE_WINDOW), self.hashed.speed(begin, until)) < enough:
            begin += 0.05
            if begin + SHARE_WINDOW > until:
                return math.inf
        return begin - since

    def start(self, *numbers: int) -> list[str]:
        """Start these replicas of each service that is a limit, at the same time; their instances."""
        with ThreadPoolExecutor(2) as executor:
            started = executor.map(lambda limit: limit.start(*numbers), self.limits)
        return [instance for each in started for instance in each]

    def stop(self, *numbers: int) -> float:
        """Stop these replicas of each service that is a limit, at the same time; the seconds until the last is gone."""
        with ThreadPoolExecutor(2) as executor:
            seconds: list[float] = list(executor.map(lambda limit: limit.stop(*numbers), self.limits))
        return max(seconds)

    def connecting(self, service: str) -> float:
        """How many endpoints of a service the worker knows that do not serve."""
        labels = {"service": service, "state": "connecting"}
        return scrape(self.worker.metrics_port)("dockercoins_worker_endpoints", **labels)

    @contextlib.contextmanager
    def nothing_is_sent_again(self) -> Iterator[None]:
        """See that in this time no stream breaks, and that no batch is sent twice."""
        before, breaks = self.asked_again, self.worker.text.count("stream broken")
        yield
        assert self.asked_again == before, self.worker.text
        assert self.worker.text.count("stream broken") == breaks, self.worker.text

    @property
    def asked_again(self) -> int:
        """Batches answered more than once by rngs or by hashers."""
        return self.random.repeated + self.hashed.repeated

    def finish(self) -> None:
        """Stop the workers there are, and settle the accounts, of those that ended before too, to the last hash.

        Some of both services must live, so that nothing remains unanswered.
        """
        for worker in self.workers:
            if worker.popen.poll() is None:
                assert worker.stop() == 0, worker.text
                assert GIVEN_UP not in worker.text, worker.text
        Accounts(self.redis, self.random, self.hashed, BATCH_SIZE).settle(*self.workers)


MakeMine = Callable[..., Mine]
"""Takes delays and makes a mine that ends with the test."""


@contextlib.contextmanager
def mine(folder: Path, environments: Mapping[str, Mapping[str, str]], **delays: float) -> Iterator[Mine]:
    """A mine with its own name server and Redis; one of each service that has no delay runs, nothing else yet.

    Services have settings beyond the usual ones in `environments`, by name.
    """
    with contextlib.ExitStack() as stack:
        # What takes how long is the question here, and coverage takes its time.
        processes = stack.enter_context(service_processes(folder))
        redis = stack.enter_context(redis_server(folder / "redis"))
        dns = stack.enter_context(dns_server(name("rng"), name("hasher")))
        random = ServerLog(folder / "random")
        hashed = ServerLog(folder / "hashed")
        yield Mine(processes, redis, dns, random, hashed, environments=environments, **delays)
