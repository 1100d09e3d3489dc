"""`make run`, started, broken and stopped as people do it: two runs on the same data, the tests in order."""

import json
import re
import signal
import stat
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from support import programs
from support.admin_endpoint import http_get
from support.fast_folder import fast_folder
from support.free_port import free_ports
from support.service_process import ServiceProcess
from support.waiting import wait_until
from support.webui_page import FollowedPage

from local_run.manager import START_SECONDS, STOP_LIMIT_S

LIMIT_S = 60.0


class LocalRun(ServiceProcess):
    """One `dockercoins run`."""

    def __init__(self, data: Path, output: Path, **variables: str) -> None:
        self.data = data
        ports = free_ports(10)
        self.redis_port, self.webui_port = ports + 8, ports + 9
        environment = {
            **{f"{service}_METRICS_PORT": "0" for service in ("RNG", "HASHER", "WORKER", "WEBUI")},
            "DATA_DIR": str(data),
            "RNG_PORT": str(ports),
            "HASHER_PORT": str(ports + 4),
            "REDIS_PORT": str(self.redis_port),
            "WEBUI_PORT": str(self.webui_port),
            **variables,
        }
        self.environment = environment
        super().__init__("local_run run", environment, output)
        self._process = psutil.Process(self.popen.pid)

    def command(self, *words: str) -> tuple[int, str]:
        """Return the exit code and the output of another `dockercoins`."""
        done = programs.run(sys.executable, "-m", "local_run", *words, env=programs.environment(**self.environment))
        return done.returncode, done.stdout + done.stderr

    def share(self, name: str) -> float:
        """Return a replica's share of the requests, as the status has it."""
        found = re.search(rf"^  {name} .* (\d+)% of the requests", self.command("status")[1], re.MULTILINE)
        return int(found[1]) / 100 if found else 0.0

    @property
    def password(self) -> str:
        return (self.data / "redis-password").read_text()

    def reports(self, worker: str) -> int:
        return len(re.findall(rf"\n{worker} .* [1-9][0-9]* units of work done", self.text))

    def wait_until_mining(self, *workers: str) -> None:
        """Wait for two reports of each: the first may be about the time before."""
        awaited = {worker: self.reports(worker) + 2 for worker in workers}
        wait_until(
            lambda: all(self.reports(name) >= count for name, count in awaited.items()), LIMIT_S, lambda: self.text
        )

    def processes(self) -> dict[str, psutil.Process]:
        """Return the running processes by the names of instances."""
        found = {}
        for child in self._process.children():
            with suppress(psutil.NoSuchProcess):
                # Redis writes its title over its environment, and the guardian is no instance.
                is_redis = child.name() == "valkey-server"
                found["redis" if is_redis else child.environ().get("INSTANCE", "")] = child
        found.pop("", None)
        return found

    def close(self) -> None:
        """Kill what is left."""
        if self.popen.poll() is None:
            for process in (self._process, *self._process.children()):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.popen.wait()


@pytest.fixture(scope="module")
def run() -> Iterator[LocalRun]:
    scale = {"WORKERS": "2", "RNGS": "2", "HASHERS": "2", "PACE": "full", "BATCH_SIZE": "256"}
    with (
        fast_folder() as folder,
        closing(LocalRun(folder / "data", folder / "output", **scale, BIND_ADDRESS="0.0.0.0")) as run,
    ):
        run.wait_until_mining("worker-1", "worker-2")
        yield run


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a run of the test's own."""
    with fast_folder() as folder:
        yield folder


def test_it_prints_the_address_of_the_page(run: LocalRun) -> None:
    page = run.wait_for(r"run +\| the page is at (http://\S+/) \(Ctrl-C stops everything\)\n")[1]
    assert page == f"http://127.0.0.1:{run.webui_port}/"
    assert "<html" in http_get(run.webui_port, "/", 10)[1]
    assert " ".join(run.processes()) == "redis webui rng-1 rng-2 hasher-1 hasher-2 worker-1 worker-2"


def test_redis_is_on_loopback_alone_and_requires_the_password_in_its_file(run: LocalRun) -> None:
    for guess in (None, "guessed"):
        stranger = redis.Redis(port=run.redis_port, password=guess, retry=Retry(NoBackoff(), 0))
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("hashes")
    with redis.Redis(port=run.redis_port, password=run.password) as client:
        assert int(client.get("hashes") or 0) > 0
    listening = [each.laddr for each in run.processes()["redis"].net_connections() if each.status == psutil.CONN_LISTEN]
    assert listening == [("127.0.0.1", run.redis_port)], "whatever BIND_ADDRESS says"


def test_the_password_is_in_private_files_and_nowhere_else(run: LocalRun) -> None:
    files = {path.name: path for path in run.data.iterdir() if "redis-" in path.name}
    assert files.keys() == {"redis-password", "redis-users.acl"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    shown = run.text + files["redis-users.acl"].read_text() + (run.data / "redis.log").read_text()
    for process in (psutil.Process(run.popen.pid), *run.processes().values()):
        shown += f"{process.cmdline()} {process.environ()}"
    assert len(run.password) >= 32
    assert run.password not in shown


@pytest.mark.parametrize("name", ["worker-1", "rng-1", "redis"])
def test_a_killed_process_is_started_again(run: LocalRun, name: str) -> None:
    old = run.processes()[name]
    started = old.create_time() + START_SECONDS + 1  # the time of creation is good to a second
    time.sleep(max(0.0, started - time.time()))
    old.kill()
    run.wait_for(rf"run +\| {name} died of SIGKILL and is started again\n")
    wait_until(lambda: name in run.processes() and run.processes()[name].pid != old.pid)
    run.wait_until_mining("worker-1", "worker-2")


def test_commands_scale_break_and_show_what_runs(run: LocalRun) -> None:
    for words, said in (
        (("scale", "rng=3"), "rng: 2 → 3\n"),
        (("pause", "hasher-2"), "hasher-2 is paused\n"),
        (("resume", "hasher-2"), "hasher-2 runs again\n"),
        (("slow", "rng-2", "0.01"), "rng-2 is restarted with FAULT_SLOW=0.01\n"),
    ):
        assert run.command(*words) == (0, said)
        if words == ("scale", "rng=3"):
            wait_until(lambda: all(run.share(f"rng-{number}") > 0.1 for number in (1, 2, 3)))
        if words == ("pause", "hasher-2"):
            wait_until(lambda: run.processes()["hasher-2"].status() == psutil.STATUS_STOPPED)
            assert re.search(r"^  hasher-2 +paused$", run.command("status")[1], re.MULTILINE)

    def is_slow() -> bool:
        with suppress(psutil.NoSuchProcess, KeyError):  # the restart is under way
            return run.processes()["rng-2"].environ().get("RNG_FAULT_SLOW") == "0.01"
        return False

    wait_until(is_slow)
    run.wait_until_mining("worker-1")
    assert run.command("slow", "rng-2", "0")[0] == 0
    assert run.command("scale", "rng=2", "worker=2")[1] == "rng: 3 → 2\nworker: 2 → 2\n"
    assert "rng-3" not in run.processes()
    assert run.command("kill", "rng-1")[0] == 0
    run.wait_for(r"run +\| rng-1 died of SIGKILL ")
    wait_until(lambda: run.share("rng-1") > 0.3 and run.share("rng-2") > 0.3, story=lambda: run.command("status")[1])


def test_a_probe_finds_all_replicas_of_a_service_or_one(run: LocalRun) -> None:
    code, said = run.command("probe", "rng", "-n", "20", "-c", "2")
    assert code == 0, said
    assert re.search(r"^  20  rng-[12]  [0-9.]+ ms$", said, re.MULTILINE)
    assert re.search(r"^from rng-1 [0-9]+, rng-2 [0-9]+$", said, re.MULTILINE)
    assert "\nfrom hasher-2 3\n" in run.command("probe", "hasher-2", "-n", "3")[1]
    assert run.command("probe", "rng-9") == (2, "there is no rng-9; there are rng-1, rng-2, hasher-1, hasher-2\n")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            "kill rng-9",
            "there is no rng-9; there are rng-1, rng-2, hasher-1, hasher-2, worker-1, worker-2, webui, redis",
        ),
        ("slow webui 1", "webui can't be slow: only rng and hasher have FAULT_SLOW"),
        ("slow rng-1 soon", "FAULT_SLOW='soon' is not allowed: it must be a number from 0 to 10 (seconds)"),
        ("scale rng=50", "rng='50' is not allowed: it must be a whole number from 0 to 49 (processes)"),
        ("scale web=2", "web=2 is not allowed: it must be rng=N, hasher=N or worker=N, such as rng=3"),
    ],
)
def test_a_command_that_is_not_allowed_is_one_line_and_exit_code_2(run: LocalRun, words: str, error: str) -> None:
    assert run.command(*words.split()) == (2, f"{error}\n")


def test_a_process_that_ended_well_stays_away(run: LocalRun) -> None:
    run.processes()["worker-2"].terminate()
    run.wait_for(r"run +\| worker-2 ended by itself and stays away\n")


def test_a_signal_stops_the_workers_first_and_redis_last(run: LocalRun) -> None:
    processes = run.processes()
    server = processes.pop("redis")
    run.send(signal.SIGTERM)
    psutil.wait_procs([server], timeout=30)
    assert not server.is_running()
    assert not [name for name, process in processes.items() if process.is_running()]
    assert run.popen.wait(30) == 0, "what takes more than 3.5 s is killed, and the run fails"
    after = run.text[run.text.index("| stopping") :]
    names = [line.split()[0] for line in after.splitlines() if " stopped" in line]
    assert names[0] == "worker-1"
    assert set(names[1:-1]) == {"rng-1", "rng-2", "hasher-1", "hasher-2", "webui"}
    assert names[-1] == "run"


def test_a_later_run_has_the_data_and_another_password_and_stops_what_is_frozen(run: LocalRun, tmp_path: Path) -> None:
    units, old_password = run.units_logged, run.password
    with closing(LocalRun(run.data, tmp_path / "output")) as later:
        later.wait_for(r"run .* the page is at ", LIMIT_S)
        assert json.loads(http_get(later.webui_port, "/json", 10)[1])["hashes"] >= units > 0
        assert later.password != old_password
        later.wait_until_mining("worker-1")
        for name in ("hasher-1", "redis"):
            later.processes()[name].suspend()
        time.sleep(0.5)
        began = time.monotonic()
        assert later.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 3 * STOP_LIMIT_S, "the limit of each stage"
        assert "SIGKILL" not in later.text


def test_a_killed_run_leaves_no_process_and_the_next_one_starts_at_once(folder: Path) -> None:
    with closing(LocalRun(folder / "data", folder / "output")) as run:
        run.wait_until_mining("worker-1")
        left = list(run.processes().values())
        run.kill()
        with closing(LocalRun(folder / "data", folder / "later")) as later:
            assert not psutil.wait_procs(left, timeout=10)[1]
            later.wait_until_mining("worker-1")
            assert later.command("status")[0] == 0
            assert later.stop(signal.SIGINT) == 0
        code, line = run.command("status")
        assert code == 1
        assert re.match(r"nothing is running here; start it with `dockercoins run`\n|there is no such run; ", line)


def test_three_replicas_have_their_shares_soon_after_scale(folder: Path) -> None:
    """With one classic worker, which completes one batch of each replica in the time of a report.

    Other tests run beside this one, so the bound is wide.
    """
    with closing(LocalRun(folder / "data", folder / "output")) as run:
        run.wait_until_mining("worker-1")
        page = FollowedPage(run.webui_port)
        names = ["rng-1", "rng-2", "rng-3"]

        def have_shares() -> bool:
            replicas = page.data.get("topology", {}).get("rng", {}).get("replicas", [])
            return [each["name"] for each in replicas if each["state"] == "serving" and each["share"] >= 0.2] == names

        began = time.monotonic()
        with ThreadPoolExecutor() as threads:
            scaled = threads.submit(run.command, "scale", "rng=3")
            wait_until(have_shares, LIMIT_S, lambda: f"{page.data['topology']['rng']}")
            seconds = time.monotonic() - began
            assert scaled.result() == (0, "rng: 1 \N{RIGHTWARDS ARROW} 3\n")
        assert all(run.share(name) >= 0.2 for name in names)
        assert seconds <= 15
