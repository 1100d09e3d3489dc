"""The ways of keeping streams that are compared."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from bench.discovery.counted_pool import GENERATION, CountedPool
from bench.discovery.kept_streams import KeptStreams
from chassis import grpc_options
from worker_svc.batch import Batch
from worker_svc.step import RANDOM

AGE = 10.0
"""Seconds after which servers end connections, where they do; gRPC varies it by a tenth."""

REOPEN_EVERY = 2.0
"""Seconds."""

ROUND_ROBIN = (("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),)
"""Without it, gRPC's defaults would use one backend even if they knew of more."""


class Client(Protocol):
    """Has batches answered, and counts what breaks."""

    on_answer: Callable[[Batch], None]
    broken_streams: int
    failed_messages: set[int]
    """Batches that were unanswered when their stream broke, and asked again; some more than once."""

    def submit(self, batch: Batch) -> None:
        """Have a batch answered."""

    async def run(self) -> None:
        """Do so until cancelled."""

    async def close(self, limit: float) -> None:
        """End all streams, after `limit` seconds by force."""


@dataclass(frozen=True)
class Way:
    """How a client keeps its streams, and what the servers do to them."""

    name: str
    client: Callable[[str, int], Client]
    """For a target, and as many batches at most."""
    period: float
    """Seconds after which the same happens again, if so: it matters when in that time replicas appear."""
    servers: dict[str, str] = field(default_factory=dict)
    """Settings."""


def _aging(grace: float) -> dict[str, str]:
    return {"MAX_CONNECTION_AGE": f"{AGE}", "MAX_CONNECTION_AGE_GRACE": f"{grace}"}


def _kept(reopen_every: float | None, options: grpc_options.Options) -> Callable[[str, int], Client]:
    def client(target: str, _: int) -> Client:
        return KeptStreams(target, options, client_id="bench", reopen_every=reopen_every)

    return client


def _pool(target: str, window: int) -> Client:
    return CountedPool(target, client_id="bench", window=window)


OPTIONS = grpc_options.client(RANDOM.service)

WAYS = {
    "defaults": Way("gRPC's defaults, round_robin", _kept(None, ROUND_ROBIN), 0),
    "age": Way("max_connection_age 10 s, grace 5 s", _kept(None, OPTIONS), AGE, _aging(5)),
    "reopened": Way("the same, grace 30 s, streams reopened every 2 s", _kept(REOPEN_EVERY, OPTIONS), AGE, _aging(30)),
    "generations": Way("a new channel every 1.8 s: the worker's pool", _pool, GENERATION),
}
