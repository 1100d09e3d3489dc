"""Each report is counted once over a failover: with Sentinels and in a cluster, plain and encrypted."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.certificates import Authority
from support.ledgers import first_cause, ledger, report
from support.redis_deployment import Cluster, Deployment, SentinelSet
from support.redis_server import TLS_HOST
from support.service_process import ServiceProcesses, local_target
from support.waiting import background, wait_until
from support.webui_page import FollowedPage

from chassis.redis.client import MASTER_CHECK_INTERVAL_S
from deploy.certs.redis_users import USERS, WORKER
from worker_svc.ledger import Ledger

KINDS = {"sentinels": SentinelSet, "cluster": Cluster}

HASHES = 10

SETTLED_WITHIN_S = 30.0

# A client leaves a master that others were put in place of; the next report may be a while.
NOTICED_WITHIN_S = MASTER_CHECK_INTERVAL_S + 1


@pytest.fixture(params=[*KINDS, *(f"encrypted {name}" for name in KINDS)])
def deployment(request: Any, tmp_path: Path) -> Iterator[Deployment]:
    """Start servers with a worker's user, which has only the permissions that it needs."""
    certificate, program = None, None
    if request.param not in KINDS:
        certificate = Authority(tmp_path / "certificates").issue("redis", TLS_HOST)
        program = request.getfixturevalue("redis_program")
    made = KINDS[request.param.removeprefix("encrypted ")](tmp_path / "servers", certificate, program)
    found = "+role" if isinstance(made, SentinelSet) else "+cluster|slots"
    prefixed = re.sub(r"~(?=\w)", f"~{made.keys.prefix}", USERS[WORKER])
    try:
        made.start()
        for server in made.servers:
            server.set_users({WORKER: f"resetkeys resetchannels -@all {found} {prefixed}"})
        yield made
    finally:
        made.stop()


class Reporting:
    """Makes reports, and checks that each is counted."""

    def __init__(self, ledger: Ledger, deployment: Deployment) -> None:
        self._ledger = ledger
        self._deployment = deployment
        self._made = 0

    def add(self, reports: int = 1) -> None:
        for _ in range(reports):
            self._made += 1
            self._ledger.add(report(self._made, HASHES, coins=1))

    @asynccontextmanager
    async def all_the_time(self) -> AsyncIterator[None]:
        """Make reports while the context lasts, and half a second before."""

        async def add() -> None:
            while True:
                self.add()
                await asyncio.sleep(0.05)

        async with background(add()):
            await asyncio.sleep(0.5)
            yield

    async def flush(self) -> None:
        """Raise AssertionError unless everything is taken in time, and counted once."""
        assert await self._ledger.flush(SETTLED_WITHIN_S)
        keys = self._deployment.keys
        assert self._deployment.execute("MGET", keys.hashes, keys.coins) == [str(HASHES * self._made), str(self._made)]
        assert self.sequences() == list(range(1, self._made + 1))

    def sequences(self) -> list[int]:
        """Return the sequence numbers of the reports that the master holds, in its order."""
        entries = self._deployment.master.client().xrange(self._deployment.keys.reports)
        return [int(fields["sequence"]) for _, fields in entries]


@pytest.fixture
async def reporting(deployment: Deployment) -> AsyncIterator[Reporting]:
    certificate = {name.lower(): value for name, value in (deployment.tls or {}).items()}
    async with ledger(deployment.url.replace("://", f"://{WORKER}:{WORKER}@"), **certificate) as made:
        yield Reporting(made, deployment)


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "at work"])
async def test_a_client_leaves_a_replaced_master(deployment: Deployment, reporting: Reporting, *, frozen: bool) -> None:
    """With Sentinels the old master learns of it last, and acknowledges reports for some seconds that are lost."""
    async with reporting.all_the_time():
        old = deployment.master
        old.freeze() if frozen else deployment.hand_over()
        await asyncio.to_thread(deployment.wait_for_takeover, old)
        old.send(SIGCONT)  # it takes itself for the master still, for a moment
        await asyncio.sleep(NOTICED_WITHIN_S)
    await reporting.flush()


async def test_reports_that_a_failover_lost_are_sent_again(deployment: Deployment, reporting: Reporting) -> None:
    """A master acknowledges a report before its replicas have it."""
    reporting.add(5)
    await reporting.flush()
    old = deployment.master
    cut_off = deployment.cut_off_replicas()
    reporting.add(5)
    await reporting.flush()
    old.stop(SIGKILL)
    for replica in cut_off:
        replica.send(SIGCONT)
    await asyncio.to_thread(deployment.wait_for_takeover, old)
    assert reporting.sequences() == [1, 2, 3, 4, 5]  # the rest is lost
    with capture_logs() as lines:
        reporting.add()
        await reporting.flush()
    [behind] = [line for line in lines if line["event"] == "the ledger in Redis is behind, sending reports again"]
    assert (behind["held"], behind["acknowledged"]) == (5, 10)


@pytest.mark.parametrize("deployment", KINDS, indirect=True)
def test_the_whole_system_mines_on_and_counts_each_hash_once(
    deployment: Deployment, processes: ServiceProcesses
) -> None:
    rng, hasher = processes.start("rng", DELAY=0), processes.start("hasher", DELAY=0)
    targets = {"RNG_TARGET": local_target(rng), "HASHER_TARGET": local_target(hasher)}
    workers = [processes.start("worker", REDIS_URL=deployment.url, DELAY=0.02, **targets) for _ in range(2)]
    webui = processes.start("webui", REDIS_URL=deployment.url)
    webui.wait_until_started()
    page = FollowedPage(webui.port)

    def shown() -> int:
        return int(page.data.get("hashes", 0))

    wait_until(lambda: shown() > 20)
    before, old = shown(), deployment.master
    old.stop(SIGKILL)
    deployment.wait_for_takeover(old)
    wait_until(lambda: shown() > before + 20)
    assert page.data["workers"] == 2
    assert [worker.stop() for worker in workers] == [0, 0]
    mined = sum(worker.units_logged for worker in workers)
    assert int(deployment.execute("GET", deployment.keys.hashes)) == mined
    wait_until(lambda: shown() == mined)


@pytest.mark.parametrize("deployment", ["sentinels"], indirect=True)
async def test_a_master_that_is_unknown_to_all_sentinels_is_named(deployment: Deployment) -> None:
    cause = await first_cause(deployment.url.replace("/coins", "/other"))
    assert "this Sentinel has no master other" in cause


@pytest.mark.parametrize("deployment", ["cluster"], indirect=True)
async def test_reports_wait_while_their_slot_moves_to_another_node(deployment: Cluster, reporting: Reporting) -> None:
    async with reporting.all_the_time():
        await asyncio.to_thread(deployment.move_slot)
        await asyncio.sleep(0.5)
    await reporting.flush()
