"""What compose makes of compose.yaml, of the files laid over it, and of what its user sets. No container is started."""

import json
from typing import Any

from support.compose_project import ROOT, docker

SERVICES = ("rng", "hasher", "worker", "webui")


def whole(*files: str, **settings: Any) -> Any:
    words = [word for file in ("compose.yaml", *files) for word in ("--file", file)]
    return json.loads(docker("compose", *words, "config", "--format", "json", settings=settings))


def config(*files: str, **settings: Any) -> Any:
    return whole(*files, **settings)["services"]


def test_a_setting_reaches_the_services_that_know_it() -> None:
    services = config(PACE="full", BATCH_SIZE=7, DELAY=0.5, REDIS_URL="redis://elsewhere:6379", HASHER_FAULT_SLOW=1)
    reached = {
        "PACE": {"rng", "hasher", "worker", "webui"},
        "BATCH_SIZE": {"worker"},
        "DELAY": {"rng", "hasher", "worker"},
        "REDIS_URL": {"worker", "webui"},
        "HASHER_FAULT_SLOW": {"hasher"},
    }
    for variable, names in reached.items():
        assert {name for name in services if variable in services[name].get("environment", {})} == names
    assert services["rng"]["environment"]["DELAY"] == "0.5"


def test_unset_settings_are_not_passed_on_and_no_overlay_applies_by_default() -> None:
    """An empty value would be refused, and none at all would erase the image's."""
    ports = {service: {"METRICS_PORT": str(port)} for port, service in enumerate(SERVICES, 9101)}
    services = config()
    assert {name: service.get("environment", {}) for name, service in services.items()} == {**ports, "redis": {}}
    assert not {"certs", "prometheus", "jaeger"} & set(services)


def test_numbers_come_from_variables_so_that_up_keeps_them() -> None:
    for settings, numbers in (({"WORKERS": 10, "RNGS": 2, "HASHERS": 3}, [10, 2, 3]), ({}, [1, 1, 1])):
        services = config(**settings)
        assert [services[name]["deploy"]["replicas"] for name in ("worker", "rng", "hasher")] == numbers


def test_images_have_names_that_can_be_pushed_anywhere_and_are_never_pulled() -> None:
    """An image of our name in a registry is somebody else's."""
    services = config("compose.tls.yaml", REGISTRY="registry.example/coins", TAG="v2")
    for name in (*SERVICES, "certs"):
        assert services[name]["image"] == f"registry.example/coins/{name}:v2"
        assert services[name]["pull_policy"] == "build"
    assert config(TAG="dev")["rng"]["image"] == "dockercoins-grpc/rng:dev"


def test_services_are_confined_scaled_and_published_on_this_machine_alone() -> None:
    for name, service in config(COMPOSE_PROFILES="observability,load-test").items():
        assert service["read_only"]
        assert service["init"]
        assert service["cap_drop"] == ["ALL"]
        assert "cap_add" not in service
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert int(service["mem_limit"]) > 0
        assert service["pids_limit"] > 0
        assert service.get("restart") == (None if name == "load-test" else "on-failure:3")
        assert "container_name" not in service
        for port in service.get("ports", []):
            assert "-" in port["published"] or name in {"webui", "prometheus"}
            assert (port.get("host_ip") == "127.0.0.1") is (name != "webui")


def test_redis_keeps_every_write_and_is_reached_from_the_internal_network_only() -> None:
    """It has no password, so nothing else may reach it."""
    for files in ((), ("compose.tls.yaml",)):
        document = whole(*files)
        redis = document["services"]["redis"]
        assert redis["command"][1:5] == ["--appendonly", "yes", "--appendfsync", "always"]
        assert [each["target"] for each in redis["volumes"] if each["source"] == "redis"] == ["/data"]
        assert not redis.get("ports")
        assert list(redis["networks"]) == ["back"]
        assert document["networks"]["back"]["internal"] is True
        assert document["networks"]["probe"]["driver_opts"] == {
            "com.docker.network.bridge.enable_ip_masquerade": "false"
        }


def test_every_encrypted_service_waits_for_its_files_and_gets_their_paths() -> None:
    services = config("compose.tls.yaml")
    for name in SERVICES:
        service = services[name]
        assert service["depends_on"]["certs"]["condition"] == "service_completed_successfully"
        assert [(each["source"], each["target"], each["read_only"]) for each in service["volumes"]] == [
            (f"certs-{name}", "/run/certs", True)
        ]
        assert service["environment"]["TLS_KEY"] == f"/run/certs/{name}-key.pem"
        assert "METRICS_PORT" in service["environment"], "the file adds to what a service has"
    assert set(services["worker"]["depends_on"]) == {"rng", "hasher", "redis", "certs"}, "they are stopped later"


def test_prometheus_has_the_port_and_the_image_that_its_user_sets_and_changes_no_file() -> None:
    prometheus = config(COMPOSE_PROFILES="observability", PROMETHEUS_PORT=9191, PROMETHEUS_IMAGE="other")["prometheus"]
    assert (prometheus["image"], prometheus["ports"][0]["published"]) == ("other", "9191")
    assert prometheus["user"] == "65534:65534"
    assert {each["target"] for each in prometheus["volumes"] if not each.get("read_only")} == {"/prometheus"}


def test_another_project_has_networks_and_volumes_of_its_own() -> None:
    document = whole(COMPOSE_PROJECT_NAME="other", COMPOSE_PROFILES="observability")
    for kind in ("networks", "volumes"):
        assert [each["name"] for each in document[kind].values()] == [f"other_{name}" for name in document[kind]]


def test_the_collector_is_on_every_traced_services_network_and_named_to_it() -> None:
    services = config("compose.tracing.yaml")
    for name in SERVICES:
        assert services[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://jaeger:4318"
        assert set(services[name]["networks"]) & set(services["jaeger"]["networks"]) >= {"back"}
        assert "METRICS_PORT" in services[name]["environment"], "the file adds to what a service has"


def test_everything_watched_is_there() -> None:
    services = config("compose.watch.yaml")
    for service in SERVICES:
        watched = [rule["path"] for rule in services[service]["develop"]["watch"]]
        assert watched
        assert not [path for path in watched if not (ROOT / path).exists()]
