"""Mining with every stream encrypted: connections are few, certificates may change, and bad ones are spoken of."""

import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from support.certificates import Authority
from system.discovery.mine import Mine, mine
from system.discovery.replicas import address

DELAY = 0.025
SECONDS = 5.0
RENEWAL_LIMIT_S = 60.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def environments(authority: Authority) -> Mapping[str, dict[str, str]]:
    return {service: authority.issue(service) for service in ("rng", "hasher", "worker")}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, environments: Mapping[str, dict[str, str]]) -> Iterator[Mine]:
    with mine(tmp_path_factory.mktemp("mine"), environments, rng=DELAY, hasher=DELAY) as made:
        made.start(1)
        made.start_worker()
        yield made


def connections(system: Mine) -> set[tuple[object, object]]:
    """Those of the worker to replicas, each of which took a handshake."""
    worker = psutil.Process(system.worker.popen.pid)
    replicas = {address(number) for each in (system.rngs, system.hashers) for number in each.running}
    return {
        (each.laddr, each.raddr)
        for each in worker.net_connections("tcp")
        if each.raddr and each.raddr[0].removeprefix("::ffff:") in replicas
    }


def test_replicas_come_and_go_as_they_do_without(system: Mine) -> None:
    system.until_full_speed()
    with system.nothing_is_sent_again():
        added = system.start(2, 3)
        system.until_shared(added, limit=2.7, since=time.monotonic())
        assert system.stop(2) < 2
    replacements = system.start(2)
    system.until_shared(replacements, limit=2.5, since=time.monotonic())


def test_there_are_as_many_connections_as_endpoints_and_no_more_handshakes(system: Mine) -> None:
    before = connections(system)
    time.sleep(SECONDS)
    assert connections(system) == before
    assert len(before) == 6


def test_certificates_renewed_on_disk_replace_connections_one_by_one_and_no_batch_is_retried(
    system: Mine, authority: Authority
) -> None:
    system.until_full_speed()
    before = connections(system)
    began = time.monotonic()
    servers = [(limit, number, server) for limit in system.limits for number, server in limit.running.items()]
    with system.nothing_is_sent_again():
        for service in ("rng", "hasher", "worker"):
            authority.issue(service, half=True)
        for process in (*(server for _, _, server in servers), system.worker):
            process.wait_for("renewed certificate can't be used, keeping the one before")
        for service in ("rng", "hasher", "worker"):
            authority.issue(service)
        for limit, number, server in servers:
            server.wait_for("certificate renewed", RENEWAL_LIMIT_S)
            shown = ssl.get_server_certificate((address(number), server.port))
            assert shown in (authority.folder / f"{limit.service}.pem").read_text()
        system.worker.wait_for("certificate renewed", RENEWAL_LIMIT_S)
        while len(connections(system) - before) < 6:
            assert time.monotonic() - began < RENEWAL_LIMIT_S
            time.sleep(0.1)
        assert system.hashed.slowest(began, time.monotonic(), 1) >= 0.5 * system.full_speed
    system.finish()


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [
        (("other.test",), 1, "Hostname Verification Check failed"),
        (("rng", "rng.test"), -1, "CERTIFICATE_VERIFY_FAILED: certificate has expired"),
    ],
)
def test_a_server_with_a_wrong_certificate_gets_nothing_and_is_spoken_of_until_it_has_a_right_one(
    tmp_path_factory: pytest.TempPathFactory, names: tuple[str, ...], days: int, reason: str
) -> None:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    environments = {service: authority.issue(service) for service in ("rng", "hasher", "worker")}
    with mine(tmp_path_factory.mktemp("mine"), environments, rng=DELAY) as made:
        authority.issue("rng", *names, not_after=datetime.now(UTC) + timedelta(days=days))
        made.rngs.start(1, 2, 3)
        made.start_worker()
        made.worker.wait_for("certificate not accepted")
        time.sleep(6)
        lines = [line for line in made.worker.text.splitlines() if "certificate not accepted" in line]
        assert all("error" in line and "to=rng" in line and reason in line for line in lines)
        assert 1 <= len(lines) <= 3
        assert not made.random.completed
        authority.issue("rng")
        made.until_full_speed()
        other = made.rngs.stop(1)
        assert other < 3
        [other_name] = made.rngs.start(1, **authority.issue("other", "other.test"))
        made.rngs.running[1].wait_for(r"asked for by a name that is not in the certificate.*name=rng\.test")
        assert other_name not in made.random.shares(0, time.monotonic())
        made.finish()
