import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from support.certificates import Authority
from support.waiting import wait_until
from system.discovery.mine import Mine, mine

DELAY_S = 0.025
RENEWAL_LIMIT_S = 60.0


def connections(system: Mine) -> set[tuple[object, object]]:
    """Return those of the worker to replicas, each of which took a handshake."""
    worker = psutil.Process(system.worker.popen.pid)
    ports = {server.port for limit in system.limits for server in limit.running.values()}
    return {
        (each.laddr, each.raddr) for each in worker.net_connections("tcp") if each.raddr and each.raddr.port in ports
    }


def test_there_is_one_handshake_per_endpoint_and_a_renewed_certificate_replaces_them_with_no_batch_retried(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path / "certificates")
    with mine(tmp_path / "mine", authority, rng=DELAY_S, hasher=DELAY_S) as system:
        system.start(1, 2, 3)
        system.start_worker()
        system.until_full_speed()
        before = connections(system)
        assert len(before) == 6
        time.sleep(3)
        assert connections(system) == before
        began = time.monotonic()
        with system.nothing_retried():
            for service in ("rng", "hasher", "worker"):
                authority.issue(service)
            system.worker.wait_for("certificate renewed", RENEWAL_LIMIT_S)
            wait_until(lambda: len(connections(system) - before) == 6, RENEWAL_LIMIT_S)
            time.sleep(1)  # even if the worker looked at once
            assert system.hashers.log.slowest(began, time.monotonic(), 1) >= 0.5 * system.full_speed
        system.finish()


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [
        (("other.test",), 1, "Hostname Verification Check failed"),
        (("rng", "rng.test"), -1, "CERTIFICATE_VERIFY_FAILED: certificate has expired"),
    ],
)
def test_a_server_with_a_wrong_certificate_gets_nothing_and_is_logged_until_it_has_a_right_one(
    tmp_path: Path, names: tuple[str, ...], days: int, reason: str
) -> None:
    authority = Authority(tmp_path / "certificates")
    with mine(tmp_path / "mine", authority, rng=DELAY_S) as system:
        authority.issue("rng", *names, not_after=datetime.now(UTC) + timedelta(days=days))
        system.rngs.start(1, 2, 3)
        worker = system.start_worker()
        worker.wait_for("certificate not accepted")
        time.sleep(6)
        lines = [line for line in worker.text.splitlines() if "certificate not accepted" in line]
        assert all("error" in line and "to=rng" in line and reason in line for line in lines)
        assert 1 <= len(lines) <= 3
        assert not system.rngs.log.completed
        authority.issue("rng")
        system.until_full_speed()
        system.rngs.stop(1)
        [other] = system.rngs.start(1, **authority.issue("other", "other.test"))
        system.rngs.running[1].wait_for(r"server name not in the certificate.*name=rng\.test")
        assert other not in system.rngs.log.shares(0, time.monotonic())
        system.finish()
