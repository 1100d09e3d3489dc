"""The stack for Swarm is what compose.yaml is, but for what is named here, with its reason."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.tls import redis_users

ROOT = Path(__file__).parents[3]
SWARM = ROOT / "deploy" / "swarm"

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
STACK = yaml.safe_load((SWARM / "stack.yaml").read_text())
PER_NODE = yaml.safe_load((SWARM / "rng-per-node.yaml").read_text())
ELSEWHERE = yaml.safe_load((SWARM / "redis-elsewhere.yaml").read_text())
REDIS = (SWARM / "redis.conf").read_text()

MINERS = ["rng", "hasher", "worker"]
SERVICES = [*MINERS, "webui", "redis"]
services = pytest.mark.parametrize("service", SERVICES)

LEFT_OUT = {
    "load-test": "it is started now and then, beside no worker; Swarm has no profiles",
    "prometheus": "a cluster has one of its own, and it is asked for by a profile",
}

ONLY_IN_COMPOSE = {
    "build": "Swarm takes images from a registry",
    "pull_policy": "the same",
    "depends_on": "Swarm starts and stops all at the same time; services find each other in any order",
    "mem_limit": "`deploy.resources.limits.memory` in a stack; compared below",
    "pids_limit": "`deploy.resources.limits.pids` in a stack; compared below",
    "restart": "`deploy.restart_policy` in a stack",
    "security_opt": "a stack has none, and the command warns that it is ignored",
}
ONLY_IN_STACK = {
    "secrets": "Redis asks for a password: its network reaches over machines",
    "configs": "Redis' file, which has its users",
}
OTHERWISE = {
    "deploy": "compared below by its parts",
    "environment": "compared below",
    "env_file": "compared below",
    "ports": "compared below",
    "healthcheck": "compared below",
    "networks": "without `probe`, since nothing but the page is published; compared below",
    "command": "redis: what compose says in arguments, redis.conf says; compared below",
}

OWN_ENVIRONMENT = {
    "worker": {"REDIS_URL": "redis://worker@redis:6379", "REDIS_PASSWORD_FILE": "/run/secrets/redis-password"},
    "webui": {"REDIS_URL": "redis://webui@redis:6379", "REDIS_PASSWORD_FILE": "/run/secrets/redis-password"},
}
"""Redis knows its users by a password. Another Redis takes redis-elsewhere.yaml."""

OF_ANOTHER_REDIS = "redis.env"
"""Redis' users may only use the names of keys that there are without a prefix; redis-elsewhere.yaml has it."""

OWN_HEALTH_CHECKS = {
    "worker": "ready once, then alive: Swarm ends what is unhealthy, and a worker may hold what Redis has not taken",
    "redis": "it asks as the user who may ping",
}

OWN_UIDS = {"redis": "999", "worker": "10001", "webui": "10001"}
"""Who the images run as."""


def deploy(service: str) -> Any:
    return STACK["services"][service]["deploy"]


def test_every_service_is_there_but_those_that_are_named() -> None:
    assert set(COMPOSE["services"]) == {*STACK["services"], *LEFT_OUT}
    assert set(STACK["services"]) == set(SERVICES)


@services
def test_everything_said_of_a_service_is_the_same_but_what_is_named(service: str) -> None:
    here, there = COMPOSE["services"][service], STACK["services"][service]
    assert set(here) - set(there) <= {*ONLY_IN_COMPOSE, "ports"}
    assert set(there) - set(here) <= {*ONLY_IN_STACK, "deploy"}
    same = (set(here) & set(there)) - set(OTHERWISE)
    assert same >= {"image", "init", "read_only", "cap_drop", "logging", "stop_grace_period"}
    assert {key: there[key] for key in same} == {key: here[key] for key in same}


@services
def test_a_variable_has_the_same_name_and_value(service: str) -> None:
    here, there = (document["services"][service].get("environment", {}) for document in (COMPOSE, STACK))
    assert there == here | OWN_ENVIRONMENT.get(service, {})


@services
def test_the_same_variables_are_passed_on_where_they_are_set(service: str) -> None:
    here, there = (
        [(root / file).resolve() for file in said]
        for root, document in ((ROOT, COMPOSE), (SWARM, STACK))
        for said in (_listed(document["services"][service].get("env_file", [])),)
    )
    assert there == [path for path in here if path.name != OF_ANOTHER_REDIS]
    assert all(path.is_file() for path in here)


def _listed(files: str | list[str]) -> list[str]:
    return [files] if isinstance(files, str) else files


@services
def test_a_health_check_asks_the_same_as_often(service: str) -> None:
    here, there = (dict(document["services"][service]["healthcheck"]) for document in (COMPOSE, STACK))
    if service in OWN_HEALTH_CHECKS:
        assert here.pop("test") != there.pop("test")
    assert there == here


@services
def test_limits_and_numbers_of_replicas_are_the_same(service: str) -> None:
    here = COMPOSE["services"][service]
    assert deploy(service)["resources"]["limits"] == {"memory": here["mem_limit"], "pids": here["pids_limit"]}
    assert deploy(service)["replicas"] == here.get("deploy", {}).get("replicas", 1)


@services
def test_networks_are_the_same_but_the_one_for_probing(service: str) -> None:
    here, there = (document["services"][service]["networks"] for document in (COMPOSE, STACK))
    assert there == [name for name in here if name != "probe"]


def test_networks_lead_to_the_same_places() -> None:
    assert set(COMPOSE["networks"]) - set(STACK["networks"]) == {"probe"}
    assert COMPOSE["networks"]["back"]["internal"] is STACK["networks"]["back"]["internal"] is True
    assert {network["driver"] for network in STACK["networks"].values()} == {"overlay"}
    assert "encrypted" in STACK["networks"]["back"]["driver_opts"]


def test_only_the_page_is_published_and_on_the_same_port() -> None:
    published = {name: service["ports"] for name, service in STACK["services"].items() if "ports" in service}
    ((variable, target),) = (port.rsplit(":", 1) for port in COMPOSE["services"]["webui"]["ports"])
    assert published == {"webui": [{"mode": "host", "published": variable, "target": int(target)}]}


@services
def test_a_name_leads_to_the_tasks_themselves(service: str) -> None:
    assert deploy(service)["endpoint_mode"] == "dnsrr"


@services
def test_what_holds_a_port_or_a_volume_stops_first_and_others_start_first(service: str) -> None:
    order = "start-first" if service in MINERS else "stop-first"
    assert deploy(service)["update_config"]["order"] == deploy(service)["rollback_config"]["order"] == order


@services
def test_a_change_that_fails_goes_back(service: str) -> None:
    update = deploy(service)["update_config"]
    assert (update["failure_action"], update["max_failure_ratio"], update["parallelism"]) == ("rollback", 0, 1)
    # What fails while it is tried again and again would be found out nevertheless.
    assert deploy(service)["restart_policy"]["condition"] == "any"


@services
def test_what_is_reserved_is_less_than_the_limit(service: str) -> None:
    resources = deploy(service)["resources"]
    sizes = {"m": 1, "g": 1024}
    limit, reserved = (
        int(resources[kind]["memory"][:-1]) * sizes[resources[kind]["memory"][-1]]
        for kind in ("limits", "reservations")
    )
    assert reserved < limit


def test_redis_stays_where_its_volume_is() -> None:
    assert deploy("redis")["placement"]["constraints"] == ["node.labels.dockercoins.redis == true"]
    assert STACK["volumes"] == {"redis": COMPOSE["volumes"]["redis"]}


def test_redis_is_told_by_its_file_what_compose_tells_it_by_arguments() -> None:
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
    passwords = {name: name.encode() for name in redis_users.USERS}
    expected = redis_users.acl_file(passwords).decode()
    for name in redis_users.USERS:
        expected = re.sub(rf"(user {name} on) #\w+ (.*)", rf'\1 \2 >{{{{ secret "{name}-redis-password" }}}}', expected)
    assert users == expected.splitlines()


def test_each_secret_is_read_by_its_services_only_and_is_no_part_of_the_stack() -> None:
    given = {
        name: [(each["source"], each["mode"], each["uid"], each["gid"]) for each in service["secrets"]]
        for name, service in STACK["services"].items()
        if "secrets" in service
    }
    wanted = {"worker": ["worker"], "webui": ["webui"], "redis": ["worker", "webui"]}
    assert given == {
        name: [(f"{user}-redis-password", 0o400, OWN_UIDS[name], OWN_UIDS[name]) for user in users]
        for name, users in wanted.items()
    }
    assert set(STACK["secrets"]) == {f"{user}-redis-password" for user in redis_users.USERS}
    assert all(secret["external"] is True for secret in STACK["secrets"].values())


def test_one_rng_a_node_changes_nothing_else_than_where_it_runs() -> None:
    """The new one has no place beside the old one."""
    assert PER_NODE == {
        "services": {
            "rng": {
                "deploy": {
                    "placement": {"max_replicas_per_node": 1},
                    "update_config": {"order": "stop-first"},
                    "rollback_config": {"order": "stop-first"},
                }
            }
        }
    }


def test_another_redis_is_named_by_the_shell_and_reached_and_there_is_no_own_one() -> None:
    """A stack that is told of no other would look for the one that does not run, so it is refused."""
    told = {
        "env_file": f"../environment/{OF_ANOTHER_REDIS}",
        "environment": {"REDIS_URL": "${REDIS_URL:?is to name the Redis to use}"},
    }
    assert ELSEWHERE["services"] == {
        "worker": {**told, "networks": ["front"]},
        "webui": told,
        "redis": {"deploy": {"replicas": 0}},
    }
    assert set(ELSEWHERE) == {"services"}
    assert "internal" not in STACK["networks"]["front"]
    assert "front" in STACK["services"]["webui"]["networks"]
