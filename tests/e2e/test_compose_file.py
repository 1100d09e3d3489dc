"""What compose makes of compose.yaml and of what its user sets."""

import json
from typing import Any

import pytest
from support.compose_project import ROOT, ComposeProject


def whole(*files: str, **settings: Any) -> Any:
    project = ComposeProject("dev", files=files or ("compose.yaml",), **settings)
    return json.loads(project.ask("config", "--format", "json"))


def config(*files: str, **settings: Any) -> Any:
    return whole(*files, **settings)["services"]


def test_a_setting_reaches_the_services_that_know_it() -> None:
    services = config(PACE="full", BATCH_SIZE=7, DELAY=0.5, REDIS_URL="redis://elsewhere:6379")
    environment = {name: service.get("environment", {}) for name, service in services.items()}
    assert [environment[name]["PACE"] for name in ("rng", "hasher", "worker", "webui")] == ["full"] * 4
    assert [name for name in environment if environment[name].get("BATCH_SIZE") == "7"] == ["worker"]
    assert sorted(name for name in environment if environment[name].get("DELAY") == "0.5") == [
        "hasher",
        "rng",
        "worker",
    ]
    assert sorted(name for name in environment if environment[name].get("REDIS_URL")) == ["webui", "worker"]


def test_a_setting_that_is_not_set_is_not_passed_on() -> None:
    """An empty value would be refused, and none at all would erase the image's."""
    environment = {name: service.get("environment", {}) for name, service in config().items()}
    assert environment == {
        "rng": {"METRICS_PORT": "9101"},
        "hasher": {"METRICS_PORT": "9102"},
        "worker": {"METRICS_PORT": "9103"},
        "webui": {"METRICS_PORT": "9104"},
        "redis": {},
    }


def test_a_setting_of_one_service_reaches_that_service() -> None:
    services = config(RNG_DELAY=0.5, HASHER_FAULT_SLOW=1, WORKER_REDIS_URL="redis://elsewhere:6379")
    for name, variable in (("rng", "RNG_DELAY"), ("hasher", "HASHER_FAULT_SLOW"), ("worker", "WORKER_REDIS_URL")):
        assert [each for each in services if variable in services[each].get("environment", {})] == [name]


def test_numbers_come_from_variables_so_that_up_keeps_them() -> None:
    services = config(WORKERS=10, RNGS=2, HASHERS=3)
    assert [services[name]["deploy"]["replicas"] for name in ("worker", "rng", "hasher")] == [10, 2, 3]
    services = config()
    assert [services[name]["deploy"]["replicas"] for name in ("worker", "rng", "hasher")] == [1, 1, 1]


def test_images_have_names_that_can_be_pushed_anywhere() -> None:
    services = config(REGISTRY="registry.example/coins", TAG="v2")
    for name in ("rng", "hasher", "worker", "webui"):
        assert services[name]["image"] == f"registry.example/coins/{name}:v2"
    assert config(TAG="dev")["rng"]["image"] == "dockercoins-grpc/rng:dev"


@pytest.mark.parametrize("name", ["rng", "hasher", "worker", "webui", "redis"])
def test_a_service_can_be_scaled_and_stopped(name: str) -> None:
    service = config()[name]
    assert "container_name" not in service
    for port in service.get("ports", []):
        assert "-" in port["published"] or name == "webui"
        assert port.get("host_ip") == "127.0.0.1" or name == "webui"


def test_redis_is_reached_from_the_internal_network_only() -> None:
    """It has no password, so nobody else is to get there."""
    for files in ((), ("compose.yaml", "compose.tls.yaml")):
        document = whole(*files)
        redis = document["services"]["redis"]
        assert not redis.get("ports")
        assert list(redis["networks"]) == ["back"]
        assert document["networks"]["back"]["internal"] is True


def test_no_secret_is_needed_without_the_overlay() -> None:
    services = config()
    assert "certs" not in services
    named = {name for service in services.values() for name in service.get("environment", {})}
    assert not {name for name in named if name.startswith("TLS_") or "PASSWORD" in name}


def test_every_encrypted_service_waits_for_its_files_and_is_told_where_they_are() -> None:
    services = config("compose.yaml", "compose.tls.yaml")
    for name in ("rng", "hasher", "worker", "webui"):
        service = services[name]
        assert service["depends_on"]["certs"]["condition"] == "service_completed_successfully"
        assert [(each["source"], each["target"], each["read_only"]) for each in service["volumes"]] == [
            (f"certs-{name}", "/run/certs", True)
        ]
        assert service["environment"]["TLS_KEY"] == f"/run/certs/{name}-key.pem"
        # The file adds to what a service has.
        assert "METRICS_PORT" in service["environment"]
    # Whoever is needed is stopped later.
    assert set(services["worker"]["depends_on"]) == {"rng", "hasher", "redis", "certs"}


def test_prometheus_is_only_there_when_it_is_asked_for() -> None:
    assert "prometheus" not in config()
    prometheus = config(COMPOSE_PROFILES="observability", PROMETHEUS_PORT=9191, PROMETHEUS_IMAGE="other")["prometheus"]
    assert "container_name" not in prometheus
    assert (prometheus["image"], prometheus["ports"][0]["published"]) == ("other", "9191")
    assert prometheus["ports"][0]["host_ip"] == "127.0.0.1"


def test_the_collector_is_on_every_traced_services_network_and_named_to_it() -> None:
    services = config("compose.yaml", "compose.tracing.yaml")
    for name in ("rng", "hasher", "worker", "webui"):
        assert services[name]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://jaeger:4318"
        assert set(services[name]["networks"]) & set(services["jaeger"]["networks"]) >= {"back"}
        # The file adds to what a service has.
        assert "METRICS_PORT" in services[name]["environment"]
    assert "jaeger" not in config()


def test_everything_watched_is_there() -> None:
    watched = [
        rule["path"]
        for service in config("compose.yaml", "compose.watch.yaml").values()
        for rule in service.get("develop", {}).get("watch", [])
    ]
    assert watched
    assert not [path for path in watched if not (ROOT / path).exists()]
