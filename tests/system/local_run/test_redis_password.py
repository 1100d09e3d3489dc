"""The Redis of a local run is on loopback, which is everybody's on this machine; its password is not."""

import signal
import stat
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis
from system.local_run.local_run_process import LocalRun

pytestmark = pytest.mark.pair(reason="five processes start at a time")

Start = Callable[..., LocalRun]


def password_file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "redis-password"


def test_only_who_may_read_the_password_gets_in(start: Start, tmp_path: Path) -> None:
    run = start()
    run.wait_until_mining()
    port = int(run.ports["REDIS_PORT"])
    for stranger in (redis.Redis(port=port), redis.Redis(port=port, password="guessed")):
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("hashes")
    password = password_file(tmp_path).read_text()
    with redis.Redis(port=port, password=password) as ours:
        assert int(ours.get("hashes") or 0) > 0
    assert run.signal_and_wait(signal.SIGTERM)[0] == 0


def test_the_password_is_in_files_of_ours_and_nowhere_else(start: Start, tmp_path: Path) -> None:
    run = start()
    run.wait_until_mining()
    password = password_file(tmp_path).read_text()
    assert len(password) >= 32
    for process in (psutil.Process(run.popen.pid), *run.processes().values()):
        assert password not in " ".join(process.cmdline())
        assert password not in str(process.environ())
    files = [path for path in (tmp_path / "data").iterdir() if "redis-" in path.name]
    assert {path.name for path in files} == {"redis-password", "redis-users.acl"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert password not in (tmp_path / "data" / "redis-users.acl").read_text()
    assert run.signal_and_wait(signal.SIGTERM)[0] == 0
    assert password not in run.output
    assert password not in (tmp_path / "data" / "redis.log").read_text()


def test_redis_listens_on_loopback_alone(start: Start) -> None:
    run = start(BIND_ADDRESS="0.0.0.0")
    run.wait_until_mining()
    listening = [each.laddr for each in run.processes()["redis"].net_connections() if each.status == psutil.CONN_LISTEN]
    assert [(address.ip, str(address.port)) for address in listening] == [("127.0.0.1", run.ports["REDIS_PORT"])]
    assert run.signal_and_wait(signal.SIGTERM)[0] == 0


def test_another_run_has_another_password_and_the_same_data(start: Start, tmp_path: Path) -> None:
    passwords, counted = [], []
    for _ in range(2):
        run = start()
        run.wait_until_mining()
        passwords.append(password_file(tmp_path).read_text())
        with redis.Redis(port=int(run.ports["REDIS_PORT"]), password=passwords[-1]) as ours:
            counted.append(int(ours.get("hashes") or 0))
        run.signal_and_wait(signal.SIGTERM)
    assert len(set(passwords)) == 2
    assert counted[1] > counted[0] > 0
