import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
import yaml
from redis.exceptions import AuthenticationError, NoPermissionError
from structlog.testing import capture_logs
from support.certificates import Authority
from support.compose_project import ROOT
from support.ledgers import causes, first_cause, ledger, report, send
from support.redis_server import TLS_HOST, RedisServer
from support.waiting import until

from chassis.redis.client import open_client
from deploy.certs import redis_users
from worker_svc.settings import WorkerSettings

REFUSED_BY_REDIS = re.compile(r"certificate.* in TLS_CERT.* that its authority has issued and that is valid now")
REFUSED_BY_US = re.compile("it must show a certificate of the authority in TLS_CA, for the host in REDIS_URL")

DAMAGE = """
FLUSHALL|FLUSHDB|CONFIG GET *|CONFIG SET dir /tmp|KEYS *|ACL LIST|ACL SETUSER x on|SHUTDOWN|REPLICAOF localhost 1
MONITOR|SAVE|CLIENT LIST|CLIENT KILL ID 1|SELECT 1|SUBSCRIBE x|PUBLISH x y|FUNCTION LIST|DEL hashes
SET wallet 1|GET other|RENAME hashes x|EVAL return 0|INFO|INFO server
"""

REFUSED = {
    "worker": """
HSET other f v|INCRBY other 1|INCRBY wallet 1|HDEL wallet f|HGETALL wallet|XADD other * f v|XRANGE reports - +|SCAN 0
EVALSHA 0 1 other|HSET totals f v|LPUSH other x|LRANGE load_tests 0 -1|EXPIRE hashes 1|DEL wallet|DEL workers
EXPIRE worker:x 1
""",
    "webui": """
SET hashes 1|INCRBY hashes 1|HSET wallet f v|XADD reports * f v|LPUSH load_tests x|HGETALL wallet|GET hashes|MGET other
HGETALL other|XRANGE other - +|ZADD workers 1 x|SCAN 0|SCRIPT LOAD x|EVALSHA 0 0
""",
    "health": "MGET hashes|XADD reports * f v|TIME|SCRIPT LOAD x|EVALSHA 0 0|SCAN 0",
}


PASSWORDS = {"worker": "worker-password", "webui": "webui-password"}


class LockedRedis(RedisServer):
    """A Redis server on loopback, locked as compose.tls.yaml locks it, and the files of its clients."""

    def __init__(self, program: str, folder: Path) -> None:
        super().__init__(folder)
        authority = Authority(folder)
        for each in (TLS_HOST, *PASSWORDS):
            authority.issue(each)
        for client, password in PASSWORDS.items():
            (folder / f"{client}-password").write_text(password)
        users = redis_users.acl_file({user: password.encode() for user, password in PASSWORDS.items()})
        (folder / "users.acl").write_bytes(users)
        # What the containers run, with other paths and another port.
        command = yaml.safe_load((ROOT / "compose.tls.yaml").read_text())["services"]["redis"]["command"]
        text = "\n".join(map(str, command[1:])).replace("6379", f"{self.port}")
        text = text.replace("/run/certs/redis", f"{folder}/{TLS_HOST}").replace("/run/certs", f"{folder}")
        self._command = (program, *text.split("\n"), "--bind", "127.0.0.1", "--dir", f"{folder}")

    def settings(self, client: str = "worker", **changes: Any) -> dict[str, Any]:
        """Return a worker's settings, by field, with the files of this client."""
        files = {"tls_cert": f"{client}.pem", "tls_key": f"{client}-key.pem", "tls_ca": "ca.pem"}
        files["redis_password_file"] = f"{client}-password"
        url = f"rediss://{client}@{TLS_HOST}:{self.port}"
        return {"redis_url": url, **{name: self.folder / file for name, file in files.items()}, **changes}

    def open_client(self, client: str, login: str | None = None, **options: Any) -> Any:
        """Open a client as its user, with its password, or as another one with its certificate."""
        other = {"redis_url": f"rediss://{login}{TLS_HOST}:{self.port}", "redis_password_file": None}
        settings = WorkerSettings(**self.settings(client, **({} if login is None else other)))
        return open_client(settings.redis, **options)


@pytest.fixture(scope="module")
def locked(redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LockedRedis]:
    server = LockedRedis(redis_program, tmp_path_factory.mktemp("locked"))
    server.start()
    yield server
    server.stop(SIGKILL)


@pytest.mark.parametrize("user", REFUSED)
async def test_a_user_has_no_other_permission(locked: LockedRedis, user: str) -> None:
    opened = locked.open_client("worker", "health:any@") if user == "health" else locked.open_client(user)
    async with opened as client:
        assert await client.ping()
        for command in filter(None, re.split(r"[|\n]", f"{DAMAGE}|{REFUSED[user]}")):
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command.split())


async def test_the_default_user_can_not_log_in(locked: LockedRedis) -> None:
    for login in ("", "default:@", "default:any@", ":any@"):
        async with locked.open_client("worker", login, protocol=2) as client:
            with pytest.raises(AuthenticationError):
                await client.ping()


async def test_counts_survive_a_restart(locked: LockedRedis) -> None:
    """Redis loads scripts' writes as its default user, who needs the permission."""
    settings = locked.settings()
    await send(settings.pop("redis_url"), report(1, hashes=5), **settings)
    locked.stop(SIGKILL)
    locked.start()
    async with locked.open_client("webui") as client:
        assert await client.mget("hashes") == [b"5"]


async def test_either_side_refuses_a_certificate_of_another_authority_or_host(
    locked: LockedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only TLS_CA is trusted, even where the system trusts the server's authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(locked.folder / "ca.pem"))
    other = Authority(tmp_path)
    for not_after in (None, datetime.now(UTC) - timedelta(days=1)):
        shown = other.issue("worker", not_after=not_after)
        files = {"tls_cert": shown["TLS_CERT"], "tls_key": shown["TLS_KEY"]}
        assert REFUSED_BY_REDIS.search(await first_cause(**locked.settings(**files)))
    none: dict[str, Any] = dict.fromkeys(("tls_cert", "tls_key", "tls_ca"))
    assert REFUSED_BY_REDIS.search(await first_cause(**locked.settings(**none)))
    by_address = f"rediss://worker@127.0.0.1:{locked.port}"
    for changes in ({"tls_ca": other.file}, {"redis_url": by_address}):
        assert REFUSED_BY_US.search(await first_cause(**locked.settings(**changes)))


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ("worker-key.pem", r"^TLS_KEY='\S+/worker-key.pem' is not allowed: "),
        ("worker-password", "REDIS_URL must name a user, and it or REDIS_PASSWORD_FILE have the password"),
    ],
)
async def test_a_corrected_file_is_used_at_the_next_connection(locked: LockedRedis, spoilt: str, message: str) -> None:
    """Until then the log names the cause now and then, without the secret."""
    file = locked.folder / spoilt
    right = file.read_text()
    with capture_logs() as lines:
        async with ledger(**locked.settings()) as made:
            file.write_text("wrong")
            made.add(report(1))
            await until(lambda: lines)
            assert not made.accepting
            file.write_text(right)
            assert await made.flush(20)
    (cause,) = set(causes(lines))
    assert re.search(message, cause)
    assert "wrong" not in cause
