import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chassis.log import STANDARD_OUTPUT, LogOutput
from chassis.settings import SettingsError
from local_run import embedded_redis
from local_run.embedded_redis import DataFolderError, data_folder
from local_run.output import MAX_LINE_BYTES, Output, wants_colours
from local_run.programs import Program, Stage, page_address, programs
from local_run.settings import LocalRunSettings


def plan(given: frozenset[str] = frozenset(), **settings: object) -> dict[str, Program]:
    return {each.name: each for each in programs(LocalRunSettings(**settings), given)}


def test_redis_starts_first_and_the_worker_stops_first() -> None:
    servers = dict.fromkeys(("rng-1", "hasher-1", "webui"), Stage.SERVERS)
    stages = {name: each.stage for name, each in plan().items()}
    assert stages == {"redis": Stage.REDIS, **servers, "worker-1": Stage.WORKERS}
    assert Stage.REDIS < Stage.SERVERS < Stage.WORKERS


def test_replicas_have_consecutive_ports_and_metrics_on_every_tenth_and_workers_get_them_all() -> None:
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
        assert worker.environment["RNG_TARGET"] == "ipv4:127.0.0.1:1000,127.0.0.1:1001"
        assert worker.environment["HASHER_TARGET"] == "ipv4:127.0.0.1:2000,127.0.0.1:2001,127.0.0.1:2002"


def test_targets_that_the_user_has_set_stay() -> None:
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
def test_targets_reach_what_listens_on_another_address(
    monkeypatch: pytest.MonkeyPatch, address: str, target: str
) -> None:
    monkeypatch.setenv("BIND_ADDRESS", address)
    run = plan()
    assert run["worker-1"].environment["RNG_TARGET"] == target
    assert {port.address for port in run["webui"].ports} == {address}
    assert page_address(LocalRunSettings())[0] in target


def test_one_service_may_listen_on_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNG_BIND_ADDRESS", "127.0.0.2")
    monkeypatch.setenv("WEBUI_BIND_ADDRESS", "127.0.0.3")
    run = plan()
    assert run["worker-1"].environment["RNG_TARGET"] == "ipv4:127.0.0.2:50051"
    assert run["worker-1"].environment["HASHER_TARGET"] == "ipv4:127.0.0.1:50151"
    assert [port.address for port in (*run["rng-1"].ports, *run["worker-1"].ports)] == ["127.0.0.2"] * 2 + ["127.0.0.1"]
    assert {port.address_variable for port in run["rng-1"].ports} == {"RNG_BIND_ADDRESS"}
    assert {port.address_variable for port in run["worker-1"].ports} == {"BIND_ADDRESS"}
    assert page_address(LocalRunSettings()) == ("127.0.0.3", 8_000)


@pytest.mark.parametrize(
    ("name", "variable", "value", "message"),
    [
        ("hasher-1", "HASHER_BIND_ADDRESS", "localhost", "it must be an IPv4"),
        ("hasher-1", "HASHER_DELAY", "soon", "it must be a number"),
        ("rng-1", "TLS_CERT", "a.pem", "make run encrypts nothing"),
        ("rng-1", "RNG_TLS_CERT", "a.pem", "make run encrypts nothing"),
        ("worker-1", "WORKER_TLS_KEY", "a.pem", "make run encrypts nothing"),
        ("webui", "WEBUI_TLS_CA", "a.pem", "make run encrypts nothing"),
    ],
)
def test_a_setting_that_a_service_would_refuse_is_named_as_it_was_set(
    monkeypatch: pytest.MonkeyPatch, name: str, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    run = plan()
    with pytest.raises(SettingsError, match=rf"^({name}: )?{variable}='{value}' is not allowed: {message}"):
        run[name].check_settings()


def test_redis_is_the_server_itself_and_keeps_everything_on_loopback() -> None:
    command = plan(redis_port=1_234, data_dir="/some/where else")["redis"].command
    assert command[0].endswith("valkey-server")
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert (options["--bind"], options["--port"], options["--dir"]) == ("127.0.0.1", "1234", "/some/where else")
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "always")


def test_worker_and_webui_find_the_password_of_redis_in_a_file_and_a_given_redis_is_used_instead() -> None:
    given, embedded = plan(redis_url="redis://elsewhere:6379"), plan(data_dir="/somewhere")
    assert "redis" not in given
    for run, expected in (
        (given, {"REDIS_URL": "redis://elsewhere:6379"}),
        (embedded, {"REDIS_URL": "redis://127.0.0.1:6379", "REDIS_PASSWORD_FILE": "/somewhere/redis-password"}),
    ):
        for name in ("rng-1", "hasher-1", "webui", "worker-1"):
            found = {key: value for key, value in run[name].environment.items() if key.startswith("REDIS")}
            assert found == (expected if name in {"worker-1", "webui"} else {})


@pytest.mark.parametrize(("name", "other"), [("worker-1", "webui"), ("webui", "worker-1")])
def test_a_service_with_a_redis_of_its_own_gets_no_access_to_the_embedded_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, other: str
) -> None:
    variable = f"{name.removesuffix('-1').upper()}_REDIS_URL"
    monkeypatch.setenv(variable, "redis://:s3cret@elsewhere:7000")
    run = plan(given=frozenset({variable}), data_dir=str(tmp_path))
    embedded_redis.renew_password(str(tmp_path))
    before = dict(os.environ)
    run[name].check_settings()
    assert dict(os.environ) == before
    assert not {"REDIS_URL", "REDIS_PASSWORD_FILE"} & set(run[name].environment)
    assert run[other].environment["REDIS_PASSWORD_FILE"] == str(tmp_path / "redis-password")


def test_every_port_but_any_free_one_is_to_be_checked() -> None:
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


def test_a_folder_that_can_not_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataFolderError, match=r"^the data folder \S+ can't be used \(Not a directory\); .* DATA_DIR=…$"),
        data_folder(str(tmp_path / "file" / "data")),
    ):
        pass


@contextmanager
def written(folder: Path, *, colours: bool) -> Iterator[Output]:
    with (folder / "output").open("wb") as file:
        log = LogOutput(file.fileno())
        yield Output(log, ["a", "b-10"], colours=colours)
        log.close(5)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([("a", b"one\n"), ("b-10", b"two\n")], b"a    | one\nb-10 | two\n"),
        ([("a", b"first "), ("b-10", b"other\nhalf"), ("a", b"and last\n")], b"b-10 | other\na    | first and last\n"),
        ([("a", b"x" * (MAX_LINE_BYTES + 1))], b"a    | " + b"x" * (MAX_LINE_BYTES + 1) + b"\n"),
        ([("a", b"cut off"), ("a", None), ("a", None)], b"a    | cut off\n"),
    ],
    ids=["names have one width", "parts of lines do not mix", "no line grows for ever", "the end of a process ends it"],
)
def test_lines_are_whole_and_behind_names(
    tmp_path: Path, said: list[tuple[str, bytes | None]], expected: bytes
) -> None:
    with written(tmp_path, colours=False) as output:
        for name, data in said:
            if data is None:
                output.end(name)
            else:
                output.add(name, data)
    assert (tmp_path / "output").read_bytes() == expected


def test_neighbours_differ_in_colour(tmp_path: Path) -> None:
    with written(tmp_path, colours=True) as output:
        output.add("a", b"one\n")
        output.add("b-10", b"two\n")
    assert (tmp_path / "output").read_bytes() == b"\x1b[36ma    |\x1b[0m one\n\x1b[33mb-10 |\x1b[0m two\n"


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colours_without_a_terminal_only_when_forced(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, wanted: bool
) -> None:
    monkeypatch.setattr("os.environ", variables)
    assert wants_colours(STANDARD_OUTPUT) is wanted
