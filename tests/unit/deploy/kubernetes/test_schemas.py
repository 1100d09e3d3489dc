"""Every object is one that Kubernetes knows, field by field, in each version from the first that has all of them."""

import json
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_validate import utils
from packaging.version import Version
from unit.deploy.kubernetes import rendered
from unit.deploy.kubernetes.rendered import EVERY, named

FIRST = "1.30"
"""The first in which `preStop` can sleep without a feature's being switched on."""

VERSIONS = [
    version
    for version in dict.fromkeys(utils.major_minor(each) for each in utils.all_versions())
    if Version(version) >= Version(FIRST)
]


@pytest.fixture(autouse=True)
def _schemas_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "schema_contents", SCHEMAS)


SCHEMAS = cache(utils.schema_contents)


@cache
def objects() -> list[Any]:
    """Of all renders together, each once."""
    rendered_ones = [each for names in EVERY for each in rendered.render(*names)]
    return list({json.dumps(each, sort_keys=True): each for each in rendered_ones}.values())


def test_several_versions_are_known() -> None:
    assert VERSIONS[0] == FIRST
    assert len(VERSIONS) >= 4


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(version: str) -> None:
    for each in objects():
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_a_field_that_there_is_not_is_found(version: str) -> None:
    rng = named(rendered.render("classic"), "Deployment", "rng")
    rng["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {"grpc": {"port": 50051}}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(rng, version, strict=True)


def test_a_value_of_another_type_is_found() -> None:
    rng = named(rendered.render("full"), "Deployment", "rng")
    rng["spec"]["replicas"] = "2"
    with pytest.raises(kubernetes_validate.ValidationError, match="'2'"):
        kubernetes_validate.validate(rng, VERSIONS[-1], strict=True)
