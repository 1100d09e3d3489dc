"""Who is let in by certificate, and what is said of who is not."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.certificates import Authority as OtherAuthority
from support.ledgers import report
from support.webui_page import until
from system.redis_access.locked_redis import LockedRedis, locked_redis

from chassis.redis.client import open_client
from worker_svc.ledger import Ledger
from worker_svc.settings import WorkerSettings

REFUSED_BY_REDIS = re.compile(r"certificate.* in TLS_CERT.* that its authority has issued and that is valid now")
REFUSED_BY_US = "it must show a certificate of the authority in TLS_CA, for the host in REDIS_URL"


@asynccontextmanager
async def sending(settings: WorkerSettings) -> AsyncIterator[tuple[Ledger, list[Any]]]:
    """A ledger that has one report to send, and the lines it logs."""
    made = Ledger(settings, "w-1")
    made.add(report(1, hashes=5))
    task = asyncio.create_task(made.run())
    with capture_logs() as lines:
        try:
            yield made, lines
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await made.close()


async def cause(lines: list[Any]) -> str:
    async def is_there() -> bool:
        return bool(lines)

    await until(is_there)
    return str(lines[0]["cause"])


def worker(locked: LockedRedis, **changes: Any) -> WorkerSettings:
    return WorkerSettings(**locked.settings("worker", instance="w", **changes))


def other(certificate: dict[str, str], locked: LockedRedis) -> dict[str, str]:
    """Fields for this certificate; it is the server's authority that is trusted."""
    return {
        "tls_cert": certificate["TLS_CERT"],
        "tls_key": certificate["TLS_KEY"],
        "tls_ca": str(locked.folder / "ca.pem"),
    }


@pytest.mark.parametrize("kind", ["of another authority", "self-signed"])
async def test_a_certificate_that_redis_does_not_trust(locked: LockedRedis, tmp_path: Path, kind: str) -> None:
    authority = OtherAuthority(tmp_path / "other")
    certificate = authority.own if kind == "self-signed" else authority.issue("worker")
    async with sending(worker(locked, **other(certificate, locked))) as (made, lines):
        assert REFUSED_BY_REDIS.search(await cause(lines))
        assert not made.taking
    assert re.search(r"Error accepting a client connection: .*(certificate verify failed|tlsv1 alert)", locked.log)


async def test_no_certificate_at_all(locked: LockedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(locked.folder / "ca.pem"))  # what the system trusts
    unset = dict.fromkeys(("tls_cert", "tls_key", "tls_ca"))
    async with sending(worker(locked, **unset)) as (made, lines):
        assert REFUSED_BY_REDIS.search(await cause(lines))
        assert not made.taking


async def test_a_redis_of_another_authority_is_not_told_the_password(locked: LockedRedis, tmp_path: Path) -> None:
    authority = OtherAuthority(tmp_path / "other")
    async with sending(worker(locked, tls_ca=authority.file)) as (made, lines):
        assert REFUSED_BY_US in await cause(lines)
        assert not made.taking


async def test_a_redis_that_the_system_trusts_is_none_of_ours(
    locked: LockedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where TLS_CA names an authority, that one counts, and no other."""
    monkeypatch.setenv("SSL_CERT_FILE", str(locked.folder / "ca.pem"))
    authority = OtherAuthority(tmp_path / "other")
    async with sending(worker(locked, tls_ca=authority.file)) as (_, lines):
        assert REFUSED_BY_US in await cause(lines)


async def test_a_redis_of_another_name(redis_program: str, tmp_path: Path) -> None:
    with locked_redis(redis_program, tmp_path / "locked", name="elsewhere") as locked:
        async with sending(worker(locked)) as (made, lines):
            assert REFUSED_BY_US in await cause(lines)
            assert not made.taking


async def test_a_renewed_certificate_is_shown_at_the_next_connection(locked: LockedRedis, tmp_path: Path) -> None:
    """The first is refused, and is replaced while the worker runs."""
    authority = OtherAuthority(tmp_path / "other")
    expired = authority.issue("worker", not_after=datetime.now(UTC) - timedelta(days=1))
    settings = worker(locked, **other(expired, locked))
    async with sending(settings) as (made, lines):
        assert REFUSED_BY_REDIS.search(await cause(lines))
        for end in (".pem", "-key.pem"):
            (locked.folder / f"worker{end}").replace(tmp_path / "other" / f"worker{end}")
        assert await made.settle(5)
        assert made.taking
    async with open_client(locked.access("webui")) as client:
        assert await client.mget("hashes") == [b"5"]


async def test_files_that_can_not_be_used_are_named_and_used_when_they_are_mended(locked: LockedRedis) -> None:
    settings = worker(locked)
    (locked.folder / "worker-key.pem").rename(locked.folder / "away")
    async with sending(settings) as (made, lines):
        assert re.match(r"TLS_KEY='\S+/worker-key.pem' is not allowed: ", await cause(lines))
        assert not made.taking
        (locked.folder / "away").rename(locked.folder / "worker-key.pem")
        assert await made.settle(5)


async def test_a_wrong_password_is_said_once_in_a_while_and_a_right_one_taken(locked: LockedRedis) -> None:
    locked.password_file("worker").write_text("wrong-password")
    async with sending(worker(locked)) as (made, lines):
        assert re.search(
            r"REDIS_URL must name a user, and it or REDIS_PASSWORD_FILE have the password", await cause(lines)
        )
        await asyncio.sleep(1)  # it goes on trying
        assert len(lines) == 1
        assert "wrong-password" not in str(lines)
        ready = [made.taking]
        locked.password_file("worker").unlink()
        await asyncio.sleep(0.5)
        locked.password_file("worker").write_text("worker-password\n")
        assert await made.settle(5)
        ready.append(made.taking)
    assert ready == [False, True]
