"""Garbage on every port of every service, while they mine. SEED=… repeats it, though never its timing."""

import asyncio
import os
import random
import time
from pathlib import Path

from system.abuse.garbage import half_open, send_all
from system.abuse.mining import mining

EACH = 6
"""Times of each kind at each port."""

HALF_OPEN = 30
"""At each port."""

PAUSE_LIMIT = 2.0
"""Seconds without a batch, at 100 a second, on a machine that is busy with all that."""

LOG_LIMIT = 64 * 1024
"""Bytes a service may say to it."""


async def test_garbage_on_every_port_does_no_harm(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(1_000_000))
    print(f"SEED={seed}")  # noqa: T201 - shown when it fails
    with mining(tmp_path) as system:
        ports = system.addresses
        assert len(ports) == 7
        with half_open(ports, HALF_OPEN):
            await send_all(seed + 1, ports, 3)  # what is made once is made now
        said = {service: len(service.text) for service in system.services}
        began = time.monotonic()
        async with system.unharmed():
            with half_open(ports, HALF_OPEN):
                await send_all(seed, ports, EACH)
            ended = time.monotonic()
            await asyncio.to_thread(system.until_mined, 50)
        assert system.longest_pause(began, ended) < PAUSE_LIMIT
        for service, length in said.items():
            assert "Traceback" not in service.text[length:], service.text[length:][:4_000]
            assert len(service.text) - length < LOG_LIMIT, service.text[length:][:4_000]
        await asyncio.to_thread(system.finish)
