"""A hasher that stands still for a moment, as the closed and the open loop show it."""

import asyncio
import signal

import pytest
from support.service_process import ServiceProcess, ServiceProcesses, local_target

from worker_svc.load_test.measurement import Measurement
from worker_svc.load_test.point import Mode, Point
from worker_svc.load_test.recorder import TOTAL
from worker_svc.load_test.schedule import Rate
from worker_svc.load_test.trial import Conditions, Trial

pytestmark = pytest.mark.alone(reason="batches are counted that take all the CPU there is")

STALL = 0.8
DURATION = 2.0


async def measure(processes: ServiceProcesses, rate: str) -> Measurement:
    services = {name: processes.start(name, PACE="full") for name in ("rng", "hasher")}
    for service in services.values():
        service.wait_until_started()
    conditions = Conditions(
        targets={name: local_target(service) for name, service in services.items()},
        services={},
        client_id="load-test",
        generation=1.8,
        warm_up=0.3,
        duration=DURATION,
        rate=Rate.parse(rate) if rate else None,
    )
    trial = Trial(Point(Mode.STREAM, 16, 8, 64, 32, rate), conditions)
    stalling = asyncio.create_task(stall(trial, services["hasher"]))
    measurement = await trial.run()
    await stalling
    return measurement


async def stall(trial: Trial, hasher: ServiceProcess) -> None:
    while not trial._recorder._began:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    hasher.send(signal.SIGSTOP)
    await asyncio.sleep(STALL)
    hasher.send(signal.SIGCONT)


async def test_a_stall_shows_in_p99_with_a_rate(processes: ServiceProcesses) -> None:
    """Two batches in five were due while it lasted, so p90 has waited for most of it, too."""
    latency = (await measure(processes, "1600")).latency[TOTAL]
    assert latency.p90 > 0.4 * STALL
    assert latency.p99 > 0.8 * STALL
    assert latency.max >= 0.9 * STALL


async def test_a_stall_hides_from_whoever_waits_for_answers(processes: ServiceProcesses) -> None:
    """Eight batches of many waited: this is why there is --rate."""
    measurement = await measure(processes, "")
    latency = measurement.latency[TOTAL]
    assert measurement.batches > 1_000
    assert latency.p99 < 0.25 * STALL
    assert latency.max >= 0.9 * STALL
