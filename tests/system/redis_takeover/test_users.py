"""Users of Redis with the rights that docs/redis.md gives them, and no more."""

import asyncio
import re
from pathlib import Path
from signal import SIGKILL

import pytest
from structlog.testing import capture_logs
from support.redis_deployment import Deployment, SentinelSet
from system.redis_access.locked_redis import set_users
from system.redis_takeover.reporting import reporting

from deploy.tls.redis_users import USERS, WORKER

# Failing over is a matter of silence, which a busy machine keeps, too.
pytestmark = pytest.mark.pair


def rights(deployment: Deployment) -> str:
    """Those with one server, of keys with the prefix, and to find out who is the master."""
    found = "+role" if isinstance(deployment, SentinelSet) else "+cluster|slots"
    prefixed = re.sub(r"~(?=\w)", f"~{deployment.keys.prefix}", USERS[WORKER])
    return f"resetkeys resetchannels -@all {found} {prefixed}"


def as_worker(deployment: Deployment, password: Path) -> dict[str, object]:
    return {"redis_url": deployment.url.replace("://", "://worker@"), "redis_password_file": password}


@pytest.fixture
def password(tmp_path: Path) -> Path:
    """What set_users gives that user."""
    file = tmp_path / "worker-password"
    file.write_text("worker\n")
    return file


async def test_a_worker_that_may_do_no_more_reports_on_when_a_replica_takes_over(
    deployment: Deployment, password: Path
) -> None:
    for server in deployment.servers:
        set_users(server.client(), {WORKER: rights(deployment)})
    async with reporting(deployment, **as_worker(deployment, password)) as made:
        made.add(3)
        await made.settle()
        old = deployment.master
        old.stop(SIGKILL)
        await asyncio.to_thread(deployment.until_taken_over, old)
        made.add(3)
        await made.settle()


@pytest.mark.parametrize("wrong", ["password", "right"])
async def test_a_refusal_says_what_is_to_be_mended(deployment: Deployment, password: Path, wrong: str) -> None:
    user = rights(deployment)
    if wrong == "right":
        user = user.replace("+role", "").replace("+cluster|slots", "")
    else:
        await asyncio.to_thread(password.write_text, "another\n")
    for server in deployment.servers:
        set_users(server.client(), {WORKER: user})
    with capture_logs() as lines:
        async with reporting(deployment, **as_worker(deployment, password)) as made:
            made.add()
            assert not await made.ledger.settle(2)
            assert not made.ledger.taking
    causes = [line["cause"] for line in lines if "cause" in line]
    remedy = {"password": "must name a user, and it or REDIS_PASSWORD_FILE", "right": "must have the right to it"}
    assert any(remedy[wrong] in cause for cause in causes), causes
