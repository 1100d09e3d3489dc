"""A worker mines while its servers are abused in every way, and each of its hashes is counted once."""

import time
from contextlib import ExitStack

import pytest
from hyperframe.frame import DataFrame, PingFrame, RstStreamFrame, SettingsFrame
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses, local_target
from support.waiting import wait_until as until
from system.abuse.raw_h2 import RawClient, message
from system.abuse.test_polite import greedy
from system.abuse.victim import CALL, PATHS, Victim

pytestmark = pytest.mark.alone(reason="a mine at full speed under every abuse leaves nothing for others")

ABUSER = "127.0.0.2"
LARGEST = 2 * 1024 * 1024
CROWD = 12
"""Connections full of calls, as `crowds` has them."""


def floods(victim: Victim, service: str) -> None:
    """What no client of gRPC does."""
    with RawClient(victim.port, source=ABUSER) as client:
        client.send(*(PingFrame(0, b"12345678") for _ in range(1_000)))
    with RawClient(victim.port, source=ABUSER) as client:
        client.send(*(SettingsFrame(0, settings={}) for _ in range(10_000)))
    with RawClient(victim.port, source=ABUSER) as client:
        for _ in range(2_000):
            opening = client.opening(PATHS[service])
            client.send(opening, RstStreamFrame(opening.stream_id, 8))
    with RawClient(victim.port, source=ABUSER) as client:
        client.open(PATHS[service], b"\xff" * 50)
        client.send(DataFrame(1, b"\0\xff\xff\xff\xff"))
        client.read(0.1)


def crowds(victim: Victim, service: str) -> None:
    """More connections, streams and calls than there may be."""
    with ExitStack() as stack:
        for number in range(700):
            client = stack.enter_context(RawClient(victim.port, source=ABUSER))
            if number % 70 == 0:
                client.read(0.05)
                client.send(*(client.opening(PATHS[service] if number % 140 else CALL) for _ in range(300)))
        time.sleep(1.5)


def hoards(victim: Victim, service: str) -> None:
    """Half messages, and answers that nobody reads."""
    never = {SettingsFrame.INITIAL_WINDOW_SIZE: 0}
    with RawClient(victim.port, source=ABUSER, settings=never) as client:
        client.read(0.1)
        for _ in range(30):
            stream = client.open(PATHS[service])
            client.say(stream, message(bytes(LARGEST))[: LARGEST if service == "hasher" else 4_000])
        time.sleep(0.5)


@pytest.mark.timeout(240)
def test_hashes_are_what_was_completed(processes: ServiceProcesses, redis: RedisServer) -> None:
    servers = {name: processes.start(name, PACE="full") for name in ("rng", "hasher")}
    worker = processes.start(
        "worker",
        PACE="full",
        BATCH_SIZE=64,
        WINDOW_SIZE=4,
        REDIS_URL=redis.url,
        RNG_TARGET=local_target(servers["rng"]),
        HASHER_TARGET=local_target(servers["hasher"]),
    )
    until(lambda: worker.units_logged > 0)
    for name, process in servers.items():
        victim = Victim(process)
        victim.warm_up(CROWD)
        with victim.unharmed():
            for abuse in (floods, crowds, hoards):
                before = worker.units_logged
                abuse(victim, name)
                until(lambda before=before: worker.units_logged > before, 5)  # type: ignore[misc] # mypy has no types for defaults
            with greedy(name, process, 100, 64):
                before = worker.units_logged
                until(lambda before=before: worker.units_logged > before, 5)  # type: ignore[misc] # the same
    assert worker.stop() == 0
    # Its streams are neither refused nor cut; one that takes long to open on a busy machine may be given up.
    assert "RESOURCE_EXHAUSTED" not in worker.text
    assert "UNAVAILABLE" not in worker.text
    assert int(redis.client().get("hashes") or 0) == worker.units_logged
