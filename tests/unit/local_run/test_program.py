import os
import sys
from itertools import groupby
from pathlib import Path

import pytest

from chassis.settings import SettingsError
from local_run import embedded_redis
from local_run.program import Program, Stage, page_address, programs
from local_run.settings import LocalRunSettings


def plan(given: frozenset[str] = frozenset(), **settings: object) -> dict[str, Program]:
    return {each.name: each for each in programs(LocalRunSettings(**settings), given)}


def test_redis_starts_first_and_the_worker_stops_first() -> None:
    stages = [
        (stage, [each.name for each in group]) for stage, group in groupby(plan().values(), lambda each: each.stage)
    ]
    assert stages == [
        (Stage.REDIS, ["redis"]),
        (Stage.SERVERS, ["rng-1", "hasher-1", "webui"]),
        (Stage.WORKERS, ["worker-1"]),
    ]
    assert Stage.REDIS < Stage.SERVERS < Stage.WORKERS


def test_replicas_are_numbered_instances_on_consecutive_ports() -> None:
    run = plan(rngs=2, hashers=3, rng_port=1_000, hasher_port=2_000)
    assert [run[name].environment["PORT"] for name in ("rng-1", "rng-2")] == ["1000", "1001"]
    assert [run[f"hasher-{number}"].environment["PORT"] for number in (1, 2, 3)] == ["2000", "2001", "2002"]
    assert run["rng-2"].environment["INSTANCE"] == "rng-2"
    assert run["rng-2"].command == (sys.executable, "-m", "rng_svc")


def test_replicas_have_their_metrics_on_every_tenth_port() -> None:
    run = plan(rngs=3, hashers=2, workers=2)
    ports = {name: each.environment.get("METRICS_PORT") for name, each in run.items() if name != "redis"}
    assert ports == {
        "rng-1": "9101",
        "rng-2": "9111",
        "rng-3": "9121",
        "hasher-1": "9102",
        "hasher-2": "9112",
        "worker-1": "9103",
        "worker-2": "9113",
        "webui": "9104",
    }


def test_the_worker_is_given_every_replica_as_one_target() -> None:
    environment = plan(rngs=2, hashers=1, rng_port=1_000, hasher_port=2_000)["worker-1"].environment
    assert environment["RNG_TARGET"] == "ipv4:127.0.0.1:1000,127.0.0.1:1001"
    assert environment["HASHER_TARGET"] == "ipv4:127.0.0.1:2000"


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


@pytest.mark.parametrize(("variable", "value"), [("HASHER_BIND_ADDRESS", "localhost"), ("HASHER_DELAY", "soon")])
def test_a_setting_that_a_service_would_refuse_is_named_as_it_was_set(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    run = plan()
    with pytest.raises(SettingsError, match=rf"^hasher-1: {variable}='{value}' is not allowed: it must be a"):
        run["hasher-1"].check_settings()


def test_targets_that_the_user_has_set_stay() -> None:
    environment = plan(given=frozenset({"RNG_TARGET"}))["worker-1"].environment
    assert "RNG_TARGET" not in environment
    assert "HASHER_TARGET" in environment


def test_a_given_redis_is_used_and_none_is_started() -> None:
    run = plan(redis_url="redis://elsewhere:6379")
    assert "redis" not in run
    assert {run[name].environment["REDIS_URL"] for name in ("worker-1", "webui")} == {"redis://elsewhere:6379"}


def test_redis_is_the_server_itself_and_keeps_everything_on_loopback() -> None:
    command = plan(redis_port=1_234, data_dir="/some/where else")["redis"].command
    assert command[0].endswith("valkey-server")
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--bind"] == "127.0.0.1"
    assert options["--port"] == "1234"
    assert options["--dir"] == "/some/where else"
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "always")


def test_services_find_the_password_of_redis_in_a_file() -> None:
    run = plan(data_dir="/somewhere")
    assert {run[name].environment["REDIS_PASSWORD_FILE"] for name in ("worker-1", "webui")} == {
        "/somewhere/redis-password"
    }
    assert not [name for name in ("rng-1", "hasher-1") if "REDIS_PASSWORD_FILE" in run[name].environment]
    assert "REDIS_PASSWORD_FILE" not in plan(redis_url="redis://elsewhere:6379")["worker-1"].environment


@pytest.mark.parametrize(
    ("service", "name", "other"), [("WORKER", "worker-1", "webui"), ("WEBUI", "webui", "worker-1")]
)
def test_a_service_with_a_redis_of_its_own_gets_no_access_to_the_embedded_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: str, name: str, other: str
) -> None:
    monkeypatch.setenv(f"{service}_REDIS_URL", "redis://:s3cret@elsewhere:7000")
    run = plan(given=frozenset({f"{service}_REDIS_URL"}), data_dir=str(tmp_path))
    embedded_redis.renew_password(str(tmp_path))
    run[name].check_settings()
    assert not {"REDIS_URL", "REDIS_PASSWORD_FILE"} & set(run[name].environment)
    assert run[other].environment["REDIS_PASSWORD_FILE"] == str(tmp_path / "redis-password")


@pytest.mark.parametrize(
    ("variable", "refusing"),
    [("TLS_CERT", "rng-1"), ("RNG_TLS_CERT", "rng-1"), ("HASHER_TLS_KEY", "hasher-1"), ("WEBUI_TLS_CA", "webui"),
     ("WORKER_TLS_CERT", "worker-1")],
)  # fmt: skip
def test_certificates_are_refused_since_a_local_run_encrypts_nothing(
    monkeypatch: pytest.MonkeyPatch, variable: str, refusing: str
) -> None:
    run = plan()
    monkeypatch.setenv(variable, "a.pem")
    with pytest.raises(SettingsError, match=rf"^{variable}='a\.pem' is not allowed: make run encrypts nothing"):
        run[refusing].check_settings()


def test_every_port_but_any_free_one_is_to_be_checked() -> None:
    run = plan(rngs=2, rng_metrics_port=0, worker_metrics_port=7)
    ports = {name: [(port.number, port.variable) for port in each.ports] for name, each in run.items()}
    assert ports["redis"] == [(6_379, "REDIS_PORT")]
    assert ports["rng-1"] == [(50_051, "RNG_PORT")]
    assert ports["rng-2"] == [(50_052, "RNG_PORT")]
    assert run["rng-2"].environment["METRICS_PORT"] == "0"
    assert ports["worker-1"] == [(7, "WORKER_METRICS_PORT")]
    assert ports["webui"] == [(8_000, "WEBUI_PORT"), (9_104, "WEBUI_METRICS_PORT")]


def test_checking_settings_leaves_the_environment_as_it_was(tmp_path: Path) -> None:
    embedded_redis.renew_password(str(tmp_path))
    before = dict(os.environ)
    plan(data_dir=str(tmp_path))["worker-1"].check_settings()
    assert dict(os.environ) == before
