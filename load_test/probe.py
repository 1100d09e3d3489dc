"""Times single requests to rng or hasher and prints a line for each, as httping and ab do for HTTP."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import grpc
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceStub
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub

from chassis.grpc_client import failure, open_channel
from chassis.grpc_options import CLIENT_ID
from chassis.process import EXIT_FAILURE
from chassis.tls import RenewedCertificates
from load_test.measurement import Latencies
from worker_svc.settings import WorkerSettings
from worker_svc.stage import HasherStage, RngStage

# A request to one rng that ten workers use takes 1.1 s at the classic pace.
REQUEST_LIMIT_S = 10.0

# The size of the workshop's messages.
MESSAGE_BYTES = 32

_CALLS: Mapping[str, tuple[str, Any, str, Any]] = {
    "rng": (RngStage.service, RngServiceStub, "GetRandomBytes", GetRandomBytesRequest(size=MESSAGE_BYTES)),
    "hasher": (HasherStage.service, HasherServiceStub, "Hash", HashRequest(data=bytes(MESSAGE_BYTES))),
}


async def probe(service: str, target: str, count: int, concurrency: int) -> int:
    """Send `count` requests to the replicas of a target in turn, `concurrency` at a time, and return the exit code.

    Raises SettingsError.
    """
    name, stub, method, request = _CALLS[service]
    settings = WorkerSettings.load()
    certificates = None if settings.tls is None else RenewedCertificates(settings.tls)
    latencies = Latencies()
    replicas: Counter[str] = Counter()
    numbers = iter(range(1, count + 1))
    async with open_channel(target, name, certificates) as channel:
        call = getattr(stub(channel), method)
        try:
            await asyncio.wait_for(channel.channel_ready(), REQUEST_LIMIT_S)
        except TimeoutError:
            _print(f"no connection to {target}: {await failure(channel, secure=certificates is not None)}")
            return EXIT_FAILURE

        async def send() -> None:
            for number in numbers:
                sent = time.monotonic()
                try:
                    response = await call(request, metadata=((CLIENT_ID, "probe"),), timeout=REQUEST_LIMIT_S)
                except grpc.aio.AioRpcError as error:
                    _print(f"{number:>4}  {error.code().name}: {error.details()}")
                    continue
                seconds = time.monotonic() - sent
                latencies.record(seconds)
                replicas[response.served_by] += 1
                _print(f"{number:>4}  {response.served_by}  {seconds * 1e3:.1f} ms")

        began = time.monotonic()
        try:
            await asyncio.gather(*(send() for _ in range(concurrency)))
        finally:
            seconds = time.monotonic() - began
            rate = latencies.count / seconds
            p50, p99 = (latencies.quantile(part) * 1e3 for part in (0.5, 0.99))
            responses = "1 response" if latencies.count == 1 else f"{latencies.count} responses"
            _print(f"{responses} in {seconds:.1f} s: {rate:.1f} per second")
            _print(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms")
            _print("from " + (", ".join(f"{name} {number}" for name, number in sorted(replicas.items())) or "none"))
    return 0 if latencies.count == count else EXIT_FAILURE


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
