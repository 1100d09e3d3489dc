"""What compose.yaml and Kubernetes both say is the same."""

import yaml
from support.compose_project import ROOT
from unit.deploy.kubernetes import rendered
from unit.deploy.kubernetes.policies.images import composed
from unit.deploy.kubernetes.rendered import Object, named

FILES = {
    "/run/certs/redis.pem": "/run/certs/tls.crt",
    "/run/certs/redis-key.pem": "/run/certs/tls.key",
    "/run/certs/ca.pem": "/run/certs/ca.crt",
}
"""What is called otherwise, as Kubernetes' Secrets have it."""


def encrypted() -> Object:
    return dict(yaml.safe_load((ROOT / "compose.tls.yaml").read_text())["services"])


def container(overlay: str, kind: str, name: str) -> Object:
    return dict(named(rendered.render(overlay), kind, name)["spec"]["template"]["spec"]["containers"][0])


def test_redis_is_started_and_asked_alike() -> None:
    redis, here = composed()["redis"], container("classic", "StatefulSet", "redis")
    assert here["args"] == redis["command"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert ["CMD", *here[probe]["exec"]["command"]] == redis["healthcheck"]["test"]


def test_redis_is_started_and_asked_alike_with_tls() -> None:
    redis, here = encrypted()["redis"], container("tls", "StatefulSet", "redis")
    assert here["args"] == [FILES.get(word, word) for word in redis["command"]]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        expected = [FILES.get(word, word) for word in redis["healthcheck"]["test"]]
        assert ["CMD", *here[probe]["exec"]["command"]] == expected


def test_redis_users_are_alike() -> None:
    for name in ("worker", "webui"):
        said = {each["name"]: each.get("value") for each in container("tls", "Deployment", name)["env"]}
        compose = encrypted()[name]["environment"]
        assert {key: said[key] for key in ("REDIS_URL", "REDIS_PASSWORD_FILE")} == {
            key: compose[key] for key in ("REDIS_URL", "REDIS_PASSWORD_FILE")
        }


def test_prometheus_is_started_alike_with_the_same_files() -> None:
    objects = rendered.render("observability")
    here = container("observability", "Deployment", "prometheus")
    assert here["args"] == composed()["prometheus"]["command"]
    (files,) = (
        each["data"]
        for each in objects
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("prometheus")
    )
    folder = ROOT / "deploy" / "prometheus"
    assert files == {name: (folder / name).read_text() for name in ("prometheus.yml", "rules.yml")}


def test_prometheus_finds_all_by_the_names_of_headless_services() -> None:
    objects = rendered.render("observability")
    configuration = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    for asked in configuration["scrape_configs"][0]["dns_sd_configs"]:
        spec = named(objects, "Service", asked["names"][0])["spec"]
        assert spec["clusterIP"] == "None"
        assert asked["port"] in [port["port"] for port in spec["ports"]]


def test_limits_of_memory_are_alike() -> None:
    units = {"512m": "512Mi", "1g": "1Gi"}
    for name in ("rng", "hasher", "worker", "webui"):
        limit = container("classic", "Deployment", name)["resources"]["limits"]["memory"]
        assert limit == units[composed()[name]["mem_limit"]]
