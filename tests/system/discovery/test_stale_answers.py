"""The only replica is replaced while DNS still tells of it alone, as a cluster's may for some seconds."""

import time

import yaml
from support.compose_project import ROOT
from system.discovery.mine import Mine
from system.discovery.replicas import address, name
from system.discovery.side_by_side import side_by_side

STALE = 5.0
"""Seconds that an answer of CoreDNS may be kept, by default."""

SLICE = 0.5
"""Seconds: at full speed there are fifty batches in it."""


def waits(service: str) -> float:
    """Seconds that a pod serves as before when it is to go, and its replacement is ready."""
    manifest = (ROOT / "deploy" / "kubernetes" / "base" / f"{service}.yaml").read_text()
    deployment = next(each for each in yaml.safe_load_all(manifest) if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return float(container["lifecycle"]["preStop"]["sleep"]["seconds"])


def test_one_that_waits_before_it_stops_leaves_no_gap(mines: list[Mine]) -> None:
    def replace(mine: Mine) -> None:
        limit = mine.limit
        limit.start(1)
        mine.start_worker()
        mine.until_full_speed()
        limit.start(2)
        limit.hide(2)
        began = time.monotonic()
        time.sleep(STALE)
        mine.dns.addresses[name(limit.service)][:] = [address(2)]
        time.sleep(began + waits(limit.service) - time.monotonic())
        limit.stop(1)
        assert mine.hashed.slowest(began, time.monotonic(), SLICE) > 0
        mine.finish()
        assert "stream broken" not in mine.worker.text

    side_by_side(replace, *mines)
