from collections import Counter
from pathlib import Path

import pytest
import yaml

from chassis.settings import Settings
from local_run.programs import SERVICES

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "environment"

# Set by the image, or by the file of compose or Swarm; so are all paths, which are others in a container. The time to
# stop is bounded by the grace period in the file.
OF_THE_CONTAINER = {"BIND_ADDRESS", "INSTANCE", "PORT", "METRICS_PORT", "STOP_LIMIT"}

OF_LIBRARIES = {
    *(f"OTEL_BSP_{name}" for name in ("SCHEDULE_DELAY", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE")),
    *("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "FORCE_COLOR", "NO_COLOR"),
}


def listed(file: str) -> list[str]:
    lines = (FOLDER / f"{file}.env").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def settable(settings: type[Settings]) -> set[str]:
    return {
        name.upper()
        for name, field in settings.fields.items()
        if name.upper() not in OF_THE_CONTAINER and "path of a" not in field.allowed
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_every_setting_of_its_own_and_what_it_shares_under_its_own_name_too(service: str) -> None:
    settings = SERVICES[service]
    shared = Counter(name for each in SERVICES.values() for name in settable(each))
    own = {f"{service}_{name}".upper() for name in settable(settings) if shared[name] > 1} & settings.variables()
    redis = listed("redis") if service in {"worker", "webui"} else []
    names = [*listed(service), *redis]
    assert sorted(names) == sorted(settable(settings) | own | OF_LIBRARIES)


def test_the_load_test_gets_what_the_worker_gets_and_what_it_has_a_use_for() -> None:
    assert set(listed("load-test")) < set(listed("worker"))


def test_no_variable_without_a_value_erases_what_an_image_says() -> None:
    for path in (*ROOT.glob("compose*.yaml"), *ROOT.glob("deploy/swarm/*.yaml")):
        for service in yaml.safe_load(path.read_text())["services"].values():
            assert all(value not in {None, ""} for value in service.get("environment", {}).values())
