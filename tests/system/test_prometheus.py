"""A real Prometheus with this project's configuration scrapes one system: first while all is well, then in trouble.

All intervals and windows of the configuration are shorter, so that no test waits a minute for an alert.
"""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.compose_project import ROOT
from support.prometheus_api import PrometheusApi
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcess, ServiceProcesses, local_target, service_processes
from support.waiting import wait_until

FOLDER = ROOT / "deploy" / "prometheus"

FASTER = 10

LIMIT_S = 60.0

WINDOW_S = 8
"""Over which two ways of counting are compared."""

# Enough hashes that one more or less is no difference, at little CPU.
SPEED = {"PACE": "classic", "DELAY": "0.02", "BATCH_SIZE": "16"}

# On a machine that is busy with other things, processes are held up, and that rightly raises an alert.
OF_A_BUSY_MACHINE = "late"


def shorter(text: str) -> str:
    """With all durations FASTER times as short."""
    milliseconds = {"s": 1_000, "m": 60_000}
    return re.sub(r"\b([0-9]+)(s|m)\b", lambda found: f"{int(found[1]) * milliseconds[found[2]] // FASTER}ms", text)


class System:
    """Two rngs, a hasher, a worker and a page, and the Prometheus that scrapes them."""

    api: PrometheusApi

    def __init__(self, processes: ServiceProcesses, redis: RedisServer) -> None:
        self.redis = redis
        self._processes = processes
        self.instances: dict[str, set[str]] = {}
        self.rngs = [self._start("rng", **SPEED), self._start("rng", **SPEED)]
        self.hasher = self._start("hasher", **SPEED)
        self.webui = self._start("webui", REDIS_URL=redis.url)
        targets = {"RNG_TARGET": local_target(*self.rngs), "HASHER_TARGET": local_target(self.hasher)}
        self.worker = self._start("worker", REDIS_URL=redis.url, **targets, **SPEED)

    def _start(self, name: str, **environment: str) -> ServiceProcess:
        process = self._processes.start(name, **environment)
        self.instances.setdefault(name, set()).add(f"127.0.0.1:{process.metrics_port}")
        return process

    def history(self) -> dict[int, float]:
        """Hashes by the second, as the page has them."""
        url = f"http://127.0.0.1:{self.webui.port}/api/history?seconds=60"
        with urllib.request.urlopen(url, timeout=20) as response:
            return dict(json.load(response)["points"])

    def alerts(self) -> set[tuple[str, str, str]]:
        """Those firing, by name, cause and instance."""
        found = {alert for alert, state in self.api.alerts().items() if state == "firing"}
        return {alert for alert in found if alert[1] != OF_A_BUSY_MACHINE}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    program = shutil.which("prometheus")
    if program is None:
        reason = "there is no prometheus; on Debian and Ubuntu, install prometheus"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder / "redis"))
        system = System(stack.enter_context(service_processes(folder)), redis)
        system.api = stack.enter_context(prometheus_server(program, folder, system.instances))
        system.api.until(lambda api: bool(api.query("dockercoins:hashes:rate1m > 0")), LIMIT_S)
        # On a busy machine nothing may be mined at first for long enough to raise an alert.
        system.api.until(lambda _: not system.alerts(), LIMIT_S)
        yield system


@contextmanager
def prometheus_server(program: str, folder: Path, instances: dict[str, set[str]]) -> Iterator[PrometheusApi]:
    """One with the project's configuration, but for the time, and with instances in place of what DNS would answer."""
    configuration: Any = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    configuration["global"] = {name: shorter(duration) for name, duration in configuration["global"].items()}
    (scraped,) = configuration["scrape_configs"]
    names = [name for asked in scraped.pop("dns_sd_configs") for name in asked["names"]]
    assert set(names) == set(instances)
    scraped["static_configs"] = [
        {"targets": sorted(instances[name]), "labels": {"__meta_dns_name": name}} for name in names
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    rules: Any = yaml.safe_load((FOLDER / "rules.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule.update({key: shorter(rule[key]) for key in ("expr", "for") if key in rule})
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    output = folder / "output.log"
    listening = r'"Listening on" .*address=127\.0\.0\.1:([0-9]+)'
    with output.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            wait_until(lambda: re.search(listening, output.read_text()) or running.poll() is not None, LIMIT_S)
            found = re.search(listening, output.read_text())
            assert found, output.read_text()
            api = PrometheusApi(int(found[1]))
            api.until(PrometheusApi.is_ready, LIMIT_S)
            yield api
        finally:
            running.kill()


def test_every_replica_is_scraped_under_its_own_instance(system: System) -> None:
    expected = {f"{name} {instance}" for name, instances in system.instances.items() for instance in instances}
    assert len(expected) == 5
    system.api.until(lambda api: api.targets() == dict.fromkeys(expected, "up"), LIMIT_S)
    ready = system.api.query('dockercoins_ready{service="rng"}')
    assert {series["metric"]["instance"] for series in ready} == system.instances["rng"]


def test_rates_are_those_of_the_page_and_of_the_counters_and_no_alert_fires(system: System) -> None:
    begin = int(time.time()) + 1
    end = begin + WINDOW_S
    wait_until(lambda: end in system.history(), LIMIT_S)
    history = system.history()
    shown = sum(history[second] for second in range(begin, end)) / WINDOW_S
    assert shown > 0
    # Not the same seconds at both ends, and on a busy machine those differ.
    speed = system.api.value(f"sum(rate(dockercoins_worker_hashes_total[{WINDOW_S}s]))", end)
    assert speed == pytest.approx(shown, rel=0.15)
    recorded_at = system.api.value("timestamp(dockercoins:hashes:rate1m)", end)
    raw = system.api.value(f"sum(rate(dockercoins_worker_hashes_total[{shorter('1m')}]))", recorded_at)
    assert system.api.value("dockercoins:hashes:rate1m", end) == pytest.approx(raw, rel=0.05)
    fired = system.api.query(f'ALERTS{{alertstate="firing", cause!="{OF_A_BUSY_MACHINE}"}}[{WINDOW_S}s]', end)
    assert fired == []


def test_shares_name_each_service_and_replica_and_are_the_whole(system: System) -> None:
    found = system.api.query("dockercoins:completed_batches:share1m")
    shares = {(each["metric"]["service"], each["metric"]["replica"]): float(each["value"][1]) for each in found}
    replicas = {("hasher", system.hasher.instance), *(("rng", rng.instance) for rng in system.rngs)}
    assert shares.keys() == replicas
    for service in ("rng", "hasher"):
        assert sum(share for (name, _), share in shares.items() if name == service) == pytest.approx(1)


def test_a_batch_takes_as_long_as_its_stages_and_the_bucket_of_an_alert_exists(system: System) -> None:
    found = system.api.query('dockercoins:batch_seconds:quantile1m{quantile="0.5"}')
    median = {each["metric"]["stage"]: float(each["value"][1]) for each in found}
    assert 0.016 < median["rng"] < median["total"]
    assert 0.016 < median["hasher"] < median["total"]
    lags = system.api.query("dockercoins_event_loop_lag_seconds_bucket")
    assert "0.524288" in {series["metric"]["le"] for series in lags}


def test_a_lost_redis_raises_the_alert_of_the_ledger_and_shows_on_the_page(system: System) -> None:
    (worker,) = system.instances["worker"]
    alert = ("DockerCoinsLedgerBehind", "", worker)
    system.redis.stop()
    system.api.until(lambda _: alert in system.alerts(), LIMIT_S)
    found = system.api.query("dockercoins_webui_redis == 0")
    assert {series["metric"]["instance"] for series in found} == system.instances["webui"]
    system.redis.start()
    system.api.until(lambda api: alert not in api.alerts(), LIMIT_S)


def test_a_lost_hasher_raises_the_alerts_that_name_it_and_no_others(system: System) -> None:
    (hasher,), (worker,) = system.instances["hasher"], system.instances["worker"]
    expected = {
        ("DockerCoinsNoHashes", "", ""),
        ("DockerCoinsBackendMissing", "silent", hasher),
        ("DockerCoinsBackendMissing", "unseen", worker),
        ("DockerCoinsEventLoopBlocked", "silent", hasher),
    }
    system.hasher.kill()
    system.api.until(lambda _: system.alerts() >= expected, LIMIT_S)
    assert system.alerts() == expected
