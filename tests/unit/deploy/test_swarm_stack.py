"""The stack for Swarm is what compose.yaml is, but for what is named here, with its reason."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.certs import redis_users

ROOT = Path(__file__).parents[3]
SWARM = ROOT / "deploy" / "swarm"

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
STACK = yaml.safe_load((SWARM / "stack.yaml").read_text())
REDIS = (SWARM / "redis.conf").read_text()

services = pytest.mark.parametrize("service", STACK["services"])

LEFT_OUT = {
    "load-test": "it is started now and then, beside no worker; Swarm has no profiles",
    "prometheus": "a cluster has one of its own, and it is asked for by a profile",
}

NOT_IN_A_STACK = {
    "build": "Swarm takes images from a registry",
    "pull_policy": "the same",
    "depends_on": "Swarm starts and stops all at the same time; services find each other in any order",
    "restart": "`deploy.restart_policy` in a stack",
    "security_opt": "a stack has none, and the command warns that it is ignored",
}

COMPARED_BELOW = {"deploy", "mem_limit", "pids_limit", "ports", "secrets", "configs"}

# Redis knows its users by a password: its network reaches over machines. Another Redis takes redis-elsewhere.yaml.
OWN_ENVIRONMENT = {
    name: {"REDIS_URL": f"redis://{name}@redis:6379", "REDIS_PASSWORD_FILE": "/run/secrets/redis-password"}
    for name in ("worker", "webui")
}

# Redis' users may only use the names of keys that there are without a prefix; redis-elsewhere.yaml has it.
OF_ANOTHER_REDIS = "redis.env"


def env_files(root: Path, service: dict[str, Any]) -> list[Path]:
    said = service.pop("env_file", [])
    return [(root / file).resolve() for file in ([said] if isinstance(said, str) else said)]


def test_every_service_is_there_but_those_that_are_named() -> None:
    assert set(COMPOSE["services"]) == {*STACK["services"], *LEFT_OUT}
    assert set(STACK["services"]) == {"rng", "hasher", "worker", "webui", "redis"}


@services
def test_a_service_is_what_it_is_in_compose_but_for_what_is_named(service: str) -> None:
    here, there = (
        {key: value for key, value in file["services"][service].items() if key not in COMPARED_BELOW}
        for file in (COMPOSE, STACK)
    )
    here = {key: value for key, value in here.items() if key not in NOT_IN_A_STACK}
    expected_files = [path for path in env_files(ROOT, here) if path.name != OF_ANOTHER_REDIS]
    assert env_files(SWARM, there) == expected_files
    assert all(path.is_file() for path in expected_files)
    assert there.pop("environment", {}) == here.pop("environment", {}) | OWN_ENVIRONMENT.get(service, {})
    assert there.pop("networks") == [name for name in here.pop("networks") if name != "probe"]
    if service in {"worker", "redis"}:  # unready, one may hold reports; the other logs in as the user that may ping
        for each in (here, there):
            each["healthcheck"] = {**each["healthcheck"], "test": "of its own"}
    if service == "redis":  # compared below with its file
        del here["command"], there["command"]
    assert there == here


@services
def test_a_service_is_placed_updated_and_limited_as_it_must_be(service: str) -> None:
    compose, deploy = COMPOSE["services"][service], STACK["services"][service]["deploy"]
    assert deploy["resources"] == {
        "limits": {"memory": compose["mem_limit"], "pids": compose["pids_limit"]},
        "reservations": {"memory": "64m" if service == "redis" else "96m"},
    }
    assert deploy["replicas"] == compose.get("deploy", {}).get("replicas", 1)
    assert deploy["endpoint_mode"] == "dnsrr", "a name leads to the tasks themselves"
    # What holds a port or a volume stops first.
    order = "stop-first" if service in {"webui", "redis"} else "start-first"
    update = deploy["update_config"]
    assert update["order"] == deploy["rollback_config"]["order"] == order
    assert (update["failure_action"], update["max_failure_ratio"], update["parallelism"]) == ("rollback", 0, 1)
    assert (update["delay"], update["monitor"]) == ("3s", "10s")
    # An update that fails is found out although its tasks are started again and again.
    assert deploy["restart_policy"]["condition"] == "any"


def test_only_the_page_is_published_and_networks_between_machines_are_encrypted() -> None:
    here, there = COMPOSE["networks"], STACK["networks"]
    assert set(here) - set(there) == {"probe"}
    assert here["back"]["internal"] is there["back"]["internal"] is True
    assert {network["driver"] for network in there.values()} == {"overlay"}
    assert "encrypted" in there["back"]["driver_opts"]
    published = {name: service["ports"] for name, service in STACK["services"].items() if "ports" in service}
    ((variable, target),) = (port.rsplit(":", 1) for port in COMPOSE["services"]["webui"]["ports"])
    assert published == {"webui": [{"mode": "host", "published": variable, "target": int(target)}]}


def test_redis_stays_where_its_volume_is_and_its_file_says_what_compose_says_by_arguments() -> None:
    constraints = STACK["services"]["redis"]["deploy"]["placement"]["constraints"]
    assert constraints == ["node.labels.dockercoins.redis == true"]
    assert STACK["volumes"] == {"redis": COMPOSE["volumes"]["redis"]}
    program, *arguments = COMPOSE["services"]["redis"]["command"]
    expected = dict(zip(arguments[::2], arguments[1::2], strict=True))
    said = [shlex.split(line) for line in REDIS.splitlines() if line and not line.startswith(("#", "user "))]
    assert {f"--{name}": value for name, value in said} == expected
    (config,) = STACK["services"]["redis"]["configs"]
    assert STACK["services"]["redis"]["command"] == [program, config["target"]]
    assert STACK["configs"][config["source"]] == {"file": "redis.conf", "template_driver": "golang"}


def test_redis_users_may_do_what_they_may_with_tls() -> None:
    """Each line here ends with its password, which the file for TLS has as a digest in the middle."""
    users = [line for line in REDIS.splitlines() if line.startswith("user ")]
    expected = redis_users.acl_file({name: name.encode() for name in redis_users.USERS}).decode()
    for name in redis_users.USERS:
        expected = re.sub(rf"(user {name} on) #\w+ (.*)", rf'\1 \2 >{{{{ secret "{name}-redis-password" }}}}', expected)
    assert users == expected.splitlines()


def test_each_secret_is_read_by_its_services_only_and_is_no_part_of_the_stack() -> None:
    given = {
        name: [(each["source"], each["mode"], each["uid"], each["gid"]) for each in service["secrets"]]
        for name, service in STACK["services"].items()
        if "secrets" in service
    }
    wanted = {"worker": ("10001", ["worker"]), "webui": ("10001", ["webui"]), "redis": ("999", ["worker", "webui"])}
    assert given == {
        name: [(f"{user}-redis-password", 0o400, uid, uid) for user in users] for name, (uid, users) in wanted.items()
    }
    assert set(STACK["secrets"]) == {f"{user}-redis-password" for user in redis_users.USERS}
    assert all(secret["external"] is True for secret in STACK["secrets"].values())


def test_one_rng_a_node_changes_nothing_else_than_where_it_runs() -> None:
    """The new one has no place beside the old one."""
    order = {key: {"order": "stop-first"} for key in ("update_config", "rollback_config")}
    deploy = {"placement": {"max_replicas_per_node": 1}, **order}
    assert yaml.safe_load((SWARM / "rng-per-node.yaml").read_text()) == {"services": {"rng": {"deploy": deploy}}}


def test_another_redis_is_named_by_the_shell_and_reached_and_there_is_no_own_one() -> None:
    """A stack that is told of no other would look for the one that does not run, so it is refused."""
    told = {
        "env_file": f"../environment/{OF_ANOTHER_REDIS}",
        "environment": {"REDIS_URL": "${REDIS_URL:?is to name the Redis to use}"},
    }
    changed = {"worker": {**told, "networks": ["front"]}, "webui": told, "redis": {"deploy": {"replicas": 0}}}
    assert yaml.safe_load((SWARM / "redis-elsewhere.yaml").read_text()) == {"services": changed}
    assert "internal" not in STACK["networks"]["front"]
    assert "front" in STACK["services"]["webui"]["networks"]
