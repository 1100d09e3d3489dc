"""The row of docs/operations.md: draining. What a server's clients see of it: chassis/test_server_stop.py."""

import contextlib
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from support.redis_server import RedisServer
from support.served import HASHER, RNG, health
from system.health.system import ALIVE, FULL_NAMES, SERVICES, Service, System, not_ready

STREAMS = {
    "rng": (f"/{RNG}/StreamRandomBytes", StreamRandomBytesRequest(count=1, size=32).SerializeToString()),
    "hasher": (f"/{HASHER}/StreamHashes", StreamHashesRequest(data=bytes(32), message_size=32).SerializeToString()),
}


@contextmanager
def busy(service: Service, redis: RedisServer) -> Iterator[None]:
    """It has something to finish for as long as it may take to stop."""
    if service.name == "worker":
        redis.send(signal.SIGSTOP)
        reported = service.process.units_logged
        while service.process.units_logged == reported:
            time.sleep(0.01)
        yield
        redis.send(signal.SIGCONT)
    elif service.name == "webui":
        yield
        service.process.send(signal.SIGUSR1)
    else:
        method, request = STREAMS[service.name]
        with grpc.insecure_channel(f"127.0.0.1:{service.process.port}") as channel:
            stream: Any = channel.stream_stream(method)
            answers = stream(forever(request))
            next(answers)
            yield
            answers.cancel()


def forever(request: bytes) -> Iterator[bytes]:
    while True:
        yield request


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_told_to_stop_is_not_ready_at_once_and_alive_to_the_end(
    system: System, redis: RedisServer, name: str
) -> None:
    # It takes webui no time to stop that a probe would notice, so it is made to.
    service = system.start_with_others(name, "slow-stop" if name == "webui" else "")
    with busy(service, redis):
        service.process.send(signal.SIGTERM)
        service.process.wait_for("stopping")
        assert service.ready == not_ready("draining")
        assert service.alive == ALIVE
    service.process.popen.wait(5)


@pytest.mark.parametrize("name", FULL_NAMES)
def test_who_watches_health_is_told_when_a_server_drains_and_new_calls_are_refused(
    system: System, redis: RedisServer, name: str
) -> None:
    service = system.start_with_others(name)
    with busy(service, redis), grpc.insecure_channel(f"127.0.0.1:{service.process.port}") as channel:
        watch = health(channel).Watch(HealthCheckRequest(service=FULL_NAMES[name]))
        assert next(watch).status == HealthCheckResponse.SERVING
        service.process.send(signal.SIGTERM)
        assert next(watch).status == HealthCheckResponse.NOT_SERVING
        with contextlib.suppress(grpc.RpcError):
            assert not list(watch)
        assert service.statuses() == ("UNAVAILABLE", "UNAVAILABLE")
    service.process.popen.wait(5)
