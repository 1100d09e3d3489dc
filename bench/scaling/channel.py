"""`python -m bench.scaling.channel TARGET ADDRESSES`: what a channel to a service with many addresses takes.

Prints a line of JSON (`Opened`). A process of its own, so that its CPU and its descriptors are nobody else's.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass

import grpc
import psutil

from chassis.grpc_client.channel import open_channel
from worker_svc.step import RANDOM

CONNECT_LIMIT = 60.0
"""Seconds."""

RENEWALS = 10

LOOK_EVERY = 0.005
"""Seconds."""


@dataclass(frozen=True)
class Opened:
    """Seconds, and CPU seconds of this process."""

    ready: float
    """From asking the name server to the first connection's being ready."""
    connected: float
    """To all of them."""
    cpu: float
    """By then."""
    renewal: float
    """Until another channel, which uses the same connections, is ready; the median."""
    renewal_cpu: float
    """Until that is closed again; the mean."""


async def _ready(channel: grpc.aio.Channel) -> float:
    began = time.monotonic()
    async with asyncio.timeout(CONNECT_LIMIT):
        await channel.channel_ready()
    return time.monotonic() - began


async def measure(target: str, addresses: int) -> Opened:
    """Open a first channel, and others beside it, one after the other."""
    own = psutil.Process()
    # What gRPC opens for itself is there after a channel to nobody.
    async with open_channel("ipv4:127.0.0.1:1", RANDOM.service, None) as warming:
        warming.get_state(try_to_connect=True)
        await asyncio.sleep(0.1)
    descriptors = own.num_fds()
    cpu, began = time.process_time(), time.monotonic()
    async with open_channel(target, RANDOM.service, None) as first:
        ready = await _ready(first)
        wanted = descriptors + addresses
        while own.num_fds() < wanted and time.monotonic() - began < CONNECT_LIMIT:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOK_EVERY)
        connected, spent = time.monotonic() - began, time.process_time() - cpu
        await asyncio.sleep(1)
        cpu = time.process_time()
        renewals = []
        for _ in range(RENEWALS):
            async with open_channel(target, RANDOM.service, None) as channel:
                renewals.append(await _ready(channel))
        renewal_cpu = (time.process_time() - cpu) / RENEWALS
    return Opened(ready, connected, spent, sorted(renewals)[RENEWALS // 2], renewal_cpu)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(asyncio.run(measure(sys.argv[1], int(sys.argv[2]))))))
