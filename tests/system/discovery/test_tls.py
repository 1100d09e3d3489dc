"""Mining with every stream encrypted: handshakes are few, certificates may change, and bad ones are spoken of."""

import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from support.certificates import Authority
from system.discovery.mine import MakeMine, Mine
from system.discovery.replicas import address

pytestmark = [
    pytest.mark.pair(reason="speeds and shares are measured, and handshakes are counted by the second"),
    pytest.mark.parametrize("environments", ["tls"], indirect=True),
]

DELAY = 0.025

MOST_HANDSHAKES = 5.0
"""A second, of one worker."""

SECONDS = 12.0
"""Several generations."""

RENEWAL_LIMIT = 60.0
"""Seconds from a file's being renewed to its use."""


@pytest.fixture
def authority(tmp_path: Path, environments: dict[str, dict[str, str]]) -> Authority:
    """The one whose certificates are in use."""
    return Authority.of(Path(environments["worker"]["TLS_CA"]).parent)


def connections(mine: Mine, seconds: float) -> int:
    """How many a worker makes to rngs and hashers in that time, each of which takes a handshake."""
    worker = psutil.Process(mine.worker.popen.pid)
    replicas = {address(number) for each in (mine.rngs, mine.hashers) for number in each.running}

    def now() -> set[tuple[object, object]]:
        return {
            (each.laddr, each.raddr)
            for each in worker.net_connections("tcp")
            if each.raddr[:1] and each.raddr[0] in replicas
        }

    before, seen = now(), set[tuple[object, object]]()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen |= now()
        time.sleep(0.05)
    return len(seen - before)


def test_eight_backends_take_less_than_five_handshakes_a_second_and_new_ones_their_share_in_three(
    make_mine: MakeMine,
) -> None:
    mine = make_mine(rng=DELAY)
    mine.hashers.start(2, 3, 4)
    mine.rngs.start(1, 2)
    mine.start_worker()
    mine.until_full_speed()
    added = mine.rngs.start(3, 4)
    mine.until_shared(added, limit=3, since=time.monotonic())
    assert connections(mine, SECONDS) <= MOST_HANDSHAKES * SECONDS
    mine.finish()
    assert "broken" not in mine.worker.text


def test_with_more_backends_streams_live_longer_and_handshakes_stay_as_few(make_mine: MakeMine) -> None:
    mine = make_mine(rng=DELAY)
    mine.hashers.start(2, 3, 4, 5, 6, 7)
    mine.rngs.start(1, 2, 3, 4, 5, 6, 7)
    mine.start_worker()
    mine.until_full_speed()
    time.sleep(2)  # what may come at once at first has come
    assert connections(mine, SECONDS) <= MOST_HANDSHAKES * SECONDS
    mine.finish()


def test_a_server_that_stops_while_streams_live_long_breaks_them_and_nothing_is_lost(make_mine: MakeMine) -> None:
    mine = make_mine(rng=DELAY)
    mine.rngs.start(1, 2, 3)
    mine.start_worker()
    mine.until_full_speed()
    assert mine.rngs.stop(1) < 3.5
    mine.worker.wait_for("stream broken")
    mine.until_full_speed()
    mine.finish()


def test_certificates_renewed_on_disk_are_used_within_a_minute_and_no_stream_breaks(
    make_mine: MakeMine, authority: Authority
) -> None:
    mine = make_mine(rng=DELAY)
    mine.rngs.start(1, 2)
    mine.start_worker()
    mine.until_full_speed()
    began = time.monotonic()
    for service in ("rng", "hasher", "worker"):
        authority.issue(service, half=True)
    for replicas in (mine.rngs, mine.hashers):
        for server in replicas.running.values():
            server.wait_for("renewed certificate can't be used, keeping the one before")
    mine.worker.wait_for("renewed certificate can't be used, keeping the one before")
    for service in ("rng", "hasher", "worker"):
        authority.issue(service)
    for replicas in (mine.rngs, mine.hashers):
        for number, server in replicas.running.items():
            server.wait_for(r"certificate renewed", RENEWAL_LIMIT)
            shown = ssl.get_server_certificate((address(number), server.port))
            assert shown in (authority.folder / f"{replicas.service}.pem").read_text()
    mine.worker.wait_for(r"certificate renewed", RENEWAL_LIMIT)
    assert time.monotonic() - began < RENEWAL_LIMIT
    time.sleep(4)  # with streams that were opened with them
    mine.finish()
    assert "broken" not in mine.worker.text


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [
        (("other.test",), 1, "Hostname Verification Check failed"),
        (("rng", "rng.test"), -1, "CERTIFICATE_VERIFY_FAILED: certificate has expired"),
    ],
)
def test_a_server_with_a_wrong_certificate_gets_nothing_and_is_spoken_of_until_it_has_a_right_one(
    make_mine: MakeMine, authority: Authority, names: tuple[str, ...], days: int, reason: str
) -> None:
    mine = make_mine(rng=DELAY)
    authority.issue("rng", *names, not_after=datetime.now(UTC) + timedelta(days=days))
    mine.rngs.start(1, 2, 3)
    mine.start_worker()
    mine.worker.wait_for("no certificate to be trusted")
    time.sleep(6)
    lines = [line for line in mine.worker.text.splitlines() if "no certificate to be trusted" in line]
    assert all("error" in line and "to=rng" in line and reason in line for line in lines)
    assert 1 <= len(lines) <= 3
    assert not mine.random.answers
    authority.issue("rng")
    mine.until_full_speed()
    mine.finish()


def test_one_server_of_three_with_another_name_gets_nothing_and_says_so(
    make_mine: MakeMine, authority: Authority
) -> None:
    mine = make_mine(rng=DELAY)
    [other] = mine.rngs.start(1, **authority.issue("other", "other.test"))
    mine.rngs.start(2, 3)
    mine.start_worker()
    mine.until(lambda now: mine.hashed.speed(now - 0.5, now) >= 1.8 / DELAY, 30)
    mine.rngs.running[1].wait_for(r"asked for by a name that is not in the certificate.*name=rng\.test")
    assert other not in mine.random.shares(0, time.monotonic())
    mine.finish()
