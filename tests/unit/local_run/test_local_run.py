import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from chassis.log import LogOutput
from chassis.settings import SettingsError
from local_run import embedded_redis
from local_run.embedded_redis import DataFolderError, data_folder
from local_run.output import Output
from local_run.programs import Plan, Port, PortError, Program, Stage
from local_run.settings import LocalRunSettings


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Ports that others have; all others are free."""
    ports: set[int] = set()
    monkeypatch.setattr(Port, "problem", lambda self: "is already in use" if self.number in ports else "")
    return ports


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., dict[str, Program]]:
    embedded_redis.renew_password(str(tmp_path))

    def make(given: frozenset[str] = frozenset(), **settings: object) -> dict[str, Program]:
        planned = Plan(LocalRunSettings(**{"data_dir": tmp_path, **settings}), given, tmp_path)
        programs = planned.initial_programs()
        planned.publish(programs)
        return {each.name: each for each in programs}

    return make


Plan_ = Callable[..., dict[str, Program]]


def addresses(folder: Path, service: str) -> list[str]:
    return (folder / service).read_text().split()


def test_redis_starts_first_and_the_worker_stops_first(plan: Plan_) -> None:
    servers = dict.fromkeys(("rng-1", "hasher-1", "webui"), Stage.SERVERS)
    stages = {name: each.stage for name, each in plan().items()}
    assert stages == {"redis": Stage.REDIS, **servers, "worker-1": Stage.WORKERS}
    assert Stage.REDIS < Stage.SERVERS < Stage.WORKERS


def test_replicas_have_consecutive_ports_and_metrics_on_every_tenth_and_workers_find_them_all(
    tmp_path: Path, plan: Plan_
) -> None:
    run = plan(rngs=2, hashers=3, workers=2, rng_port=1_000, hasher_port=2_000)
    del run["redis"]
    ports = {name: (each.environment.get("PORT"), each.environment["METRICS_PORT"]) for name, each in run.items()}
    assert ports == {
        "rng-1": ("1000", "9101"),
        "rng-2": ("1001", "9111"),
        "hasher-1": ("2000", "9102"),
        "hasher-2": ("2001", "9112"),
        "hasher-3": ("2002", "9122"),
        "webui": ("8000", "9104"),
        "worker-1": (None, "9103"),
        "worker-2": (None, "9113"),
    }
    assert [each.environment["INSTANCE"] for each in run.values()] == list(run)
    assert run["rng-2"].command == (sys.executable, "-m", "rng_svc")
    for worker in (run["worker-1"], run["worker-2"]):
        assert worker.environment["RNG_TARGET"] == f"file:{tmp_path}/rng"
        assert worker.environment["HASHER_TARGET"] == f"file:{tmp_path}/hasher"
    assert addresses(tmp_path, "rng") == ["ipv4:127.0.0.1:1000", "ipv4:127.0.0.1:1001"]
    assert addresses(tmp_path, "hasher") == [f"ipv4:127.0.0.1:{port}" for port in (2_000, 2_001, 2_002)]


def test_a_usual_port_that_is_taken_is_replaced_and_said_and_one_that_the_user_set_is_refused(
    tmp_path: Path, plan: Plan_, taken: set[int]
) -> None:
    taken |= {8_000, 8_001, 50_052, 9_101}
    run = plan(rngs=2)
    assert run["webui"].environment["PORT"] == "8002"
    assert run["rng-2"].environment["PORT"] == "50053"
    assert (run["rng-1"].environment["METRICS_PORT"], run["rng-2"].environment["METRICS_PORT"]) == ("9111", "9121")
    given = frozenset({"WEBUI_PORT"})
    with pytest.raises(PortError, match=r"^webui: port 8001 is already in use; choose another with WEBUI_PORT=…$"):
        plan(given, webui_port=8_001)
    with pytest.raises(PortError, match=r"^rng-2: no port from 65536 on is free; choose others with RNG_PORT=…$"):
        plan(rngs=2, rng_port=65_535)
    planned = Plan(LocalRunSettings(data_dir=tmp_path), frozenset(), tmp_path)
    note = "webui: port 8000 is already in use, so it has 8002; WEBUI_PORT=… chooses another"
    assert [planned.take_notes(), planned.take_notes()] == [[note], []]
    taken.clear()
    first = planned.replica("rng", 1)
    assert planned.replica("rng", 1).environment["PORT"] == "50052"
    planned.release(first)
    assert planned.replica("rng", 1).environment["PORT"] == first.environment["PORT"] == "50051"


def test_targets_that_the_user_has_set_stay(plan: Plan_) -> None:
    environment = plan(given=frozenset({"RNG_TARGET"}))["worker-1"].environment
    assert {"RNG_TARGET", "HASHER_TARGET"} & environment.keys() == {"HASHER_TARGET"}


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("0.0.0.0", "ipv4:127.0.0.1:50051"),
        ("::", "ipv4:127.0.0.1:50051"),
        ("127.0.0.2", "ipv4:127.0.0.2:50051"),
        ("::1", "ipv6:[::1]:50051"),
    ],
)
def test_addresses_reach_what_listens_on_another_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plan: Plan_, address: str, target: str
) -> None:
    monkeypatch.setenv("BIND_ADDRESS", address)
    run = plan()
    assert addresses(tmp_path, "rng") == [target]
    assert {port.address for port in run["webui"].ports} == {address}
    assert run["webui"].ports[0].host in target


def test_one_service_may_listen_on_another_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plan: Plan_
) -> None:
    monkeypatch.setenv("RNG_BIND_ADDRESS", "127.0.0.2")
    monkeypatch.setenv("WEBUI_BIND_ADDRESS", "127.0.0.3")
    run = plan()
    assert addresses(tmp_path, "rng") == ["ipv4:127.0.0.2:50051"]
    assert addresses(tmp_path, "hasher") == ["ipv4:127.0.0.1:50151"]
    assert [port.address for port in (*run["rng-1"].ports, *run["worker-1"].ports)] == ["127.0.0.2"] * 2 + ["127.0.0.1"]
    assert {port.address_variable for port in run["rng-1"].ports} == {"RNG_BIND_ADDRESS"}
    assert {port.address_variable for port in run["worker-1"].ports} == {"BIND_ADDRESS"}
    assert run["webui"].ports[0].host == "127.0.0.3"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("HASHER_BIND_ADDRESS", "localhost", "it must be an IPv4"),
        ("HASHER_DELAY", "soon", "it must be a number"),
        ("TLS_CERT", "a.pem", "make run encrypts nothing"),
        ("RNG_TLS_CERT", "a.pem", "make run encrypts nothing"),
        ("WORKER_TLS_KEY", "a.pem", "make run encrypts nothing"),
        ("WEBUI_TLS_CA", "a.pem", "make run encrypts nothing"),
    ],
)
def test_a_setting_that_a_service_would_refuse_is_named_as_it_was_set(
    monkeypatch: pytest.MonkeyPatch, plan: Plan_, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=rf"^([a-z]+(-1)?: )?{variable}='{value}' is not allowed: {message}"):
        plan()


def test_redis_is_the_server_itself_and_keeps_everything_on_loopback(tmp_path: Path, plan: Plan_) -> None:
    command = plan(redis_port=1_234)["redis"].command
    assert command[0].endswith("valkey-server")
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["--bind"], options["--port"], options["--dir"]) == ("127.0.0.1", "1234", str(tmp_path))
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "always")


def test_worker_and_webui_find_the_password_of_redis_in_a_file_and_a_given_redis_is_used_instead(
    tmp_path: Path, plan: Plan_
) -> None:
    given, embedded = plan(redis_url="redis://elsewhere:6379"), plan()
    assert "redis" not in given
    for run, expected in (
        (given, {"REDIS_URL": "redis://elsewhere:6379"}),
        (embedded, {"REDIS_URL": "redis://127.0.0.1:6379", "REDIS_PASSWORD_FILE": f"{tmp_path}/redis-password"}),
    ):
        for name in ("rng-1", "hasher-1", "webui", "worker-1"):
            found = {key: value for key, value in run[name].environment.items() if key.startswith("REDIS")}
            assert found == (expected if name in {"worker-1", "webui"} else {})


@pytest.mark.parametrize(("name", "other"), [("worker-1", "webui"), ("webui", "worker-1")])
def test_a_service_with_a_redis_of_its_own_gets_no_access_to_the_embedded_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plan: Plan_, name: str, other: str
) -> None:
    variable = f"{name.removesuffix('-1').upper()}_REDIS_URL"
    monkeypatch.setenv(variable, "redis://:s3cret@elsewhere:7000")
    before = dict(os.environ)
    run = plan(given=frozenset({variable}))
    assert dict(os.environ) == before
    assert not {"REDIS_URL", "REDIS_PASSWORD_FILE"} & set(run[name].environment)
    assert run[other].environment["REDIS_PASSWORD_FILE"] == str(tmp_path / "redis-password")


def test_every_port_but_any_free_one_is_checked(plan: Plan_) -> None:
    run = plan(rngs=2, rng_metrics_port=0, worker_metrics_port=7)
    ports = {name: [(port.number, port.variable) for port in each.ports] for name, each in run.items()}
    assert run["rng-2"].environment["METRICS_PORT"] == "0"
    assert ports == {
        "redis": [(6_379, "REDIS_PORT")],
        "rng-1": [(50_051, "RNG_PORT")],
        "rng-2": [(50_052, "RNG_PORT")],
        "hasher-1": [(50_151, "HASHER_PORT"), (9_102, "HASHER_METRICS_PORT")],
        "webui": [(8_000, "WEBUI_PORT"), (9_104, "WEBUI_METRICS_PORT")],
        "worker-1": [(7, "WORKER_METRICS_PORT")],
    }


def test_the_data_folder_is_made_and_no_two_runs_share_it(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    for _ in range(2):
        with data_folder(str(folder)):
            assert folder.is_dir()
            with pytest.raises(DataFolderError, match=r"is in use by another run"), data_folder(str(folder)):
                pass


def test_the_data_folder_stays_locked_as_long_as_a_server_that_inherited_the_lock_runs(tmp_path: Path) -> None:
    with data_folder(str(tmp_path)) as lock:
        server = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    with pytest.raises(DataFolderError, match="in use by another run"), data_folder(str(tmp_path)):
        pass
    server.kill()
    server.wait()
    with data_folder(str(tmp_path)):
        pass


def test_a_folder_that_can_not_be_or_be_locked_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataFolderError, match=r"^\S+ can't be used \(Not a directory\); .* DATA_DIR=…$"),
        data_folder(str(tmp_path / "file" / "data")),
    ):
        pass
    monkeypatch.setattr("fcntl.flock", Mock(side_effect=OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))))
    with (
        pytest.raises(DataFolderError, match=r"^\S+ can't be used \(No locks available\); "),
        data_folder(str(tmp_path)),
    ):
        pass


def test_an_error_while_the_data_folder_is_locked_passes_unchanged(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="elsewhere"), data_folder(str(tmp_path)):
        raise BlockingIOError("elsewhere")


@contextmanager
def written(folder: Path, *, colours: bool, hides_log: bool = False) -> Iterator[Output]:
    with (folder / "output").open("wb") as file:
        log = LogOutput(file.fileno())
        yield Output(log, ["a", "b-10"], colours=colours, hides_log=hides_log)
        log.close(5)


def test_lines_have_names_of_one_width(tmp_path: Path) -> None:
    with written(tmp_path, colours=False) as output:
        output.add("a", b"one\r\n")
        output.add("b-10", b"no end")
        output.add("a", b"")
    assert (tmp_path / "output").read_bytes() == b"a    | one\nb-10 | no end\n"


def test_the_status_stays_below_our_lines_and_a_hidden_log_explains_a_failure(tmp_path: Path) -> None:
    with written(tmp_path, colours=False, hides_log=True) as output:
        output.show(["speed", "rng-1"])
        for number in range(9):
            output.add("a", b"line %d\n" % number)
        output.say("a ended")
        output.explain("a")
        output.show([])
    erase = "\x1b[2A\r\x1b[J"
    kept = "".join(f"a    | line {number}\n" for number in range(4, 9))
    expected = f"speed\nrng-1\n{erase}a ended\nspeed\nrng-1\n{erase}{kept}speed\nrng-1\n{erase}"
    assert (tmp_path / "output").read_bytes().decode() == expected


def test_neighbours_differ_in_colour(tmp_path: Path) -> None:
    with written(tmp_path, colours=True) as output:
        output.add("a", b"one\n")
        output.add("b-10", b"two\n")
    assert (tmp_path / "output").read_bytes() == b"\x1b[36ma    |\x1b[0m one\n\x1b[33mb-10 |\x1b[0m two\n"
