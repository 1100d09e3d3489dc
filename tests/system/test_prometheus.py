"""A real Prometheus with this project's configuration scrapes one system: first while all is well, then in trouble.

All intervals and windows of the configuration are shorter, so that no test waits a minute for an alert.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.admin_endpoint import http_get
from support.compose_project import ROOT
from support.mine import SERVICES, Mine
from support.programs import find_program
from support.prometheus_api import OF_A_BUSY_MACHINE, PrometheusApi
from support.waiting import wait_until

FOLDER = ROOT / "deploy" / "prometheus"

FASTER = 10

# Over which two ways of counting are compared.
WINDOW_S = 8


def shorter(text: str) -> str:
    """With all durations FASTER times as short."""
    milliseconds = {"s": 1_000, "m": 60_000}
    return re.sub(r"\b([0-9]+)(s|m)\b", lambda found: f"{int(found[1]) * milliseconds[found[2]] // FASTER}ms", text)


@pytest.fixture(scope="module")
def mine(mine: Mine) -> Mine:
    """A mine of so many hashes that one more or less is no difference, at little CPU."""
    mine.start_all(PACE="classic", DELAY=0.02, BATCH_SIZE=16)
    return mine


@pytest.fixture(scope="module")
def instances(mine: Mine) -> dict[str, str]:
    return {name: f"127.0.0.1:{port}" for name, port in mine.metrics_ports.items()}


def write_configuration(folder: Path, instances: dict[str, str]) -> None:
    """Write the project's, but for the time, and with instances in place of what DNS would answer."""
    configuration: Any = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    configuration["global"] = {name: shorter(duration) for name, duration in configuration["global"].items()}
    (scraped,) = configuration["scrape_configs"]
    names = {name.removesuffix("-metrics") for asked in scraped.pop("dns_sd_configs") for name in asked["names"]}
    assert names == set(instances)
    scraped["static_configs"] = [
        {"targets": [instances[name]], "labels": {"__meta_dns_name": name}} for name in sorted(names)
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    rules: Any = yaml.safe_load((FOLDER / "rules.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule.update({key: shorter(rule[key]) for key in ("expr", "for") if key in rule})
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))


@pytest.fixture(scope="module")
def prometheus(instances: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusApi]:
    folder = tmp_path_factory.mktemp("prometheus")
    write_configuration(folder, instances)
    command = [
        find_program("prometheus", "prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    output = folder / "output.log"
    with output.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            listening = re.compile(r'"Listening on" .*address=127\.0\.0\.1:([0-9]+)')
            wait_until(lambda: listening.search(output.read_text()), story=output.read_text)
            api = PrometheusApi(int(listening.findall(output.read_text())[0]))
            wait_until(api.is_ready)
            api.until(lambda: api.query("dockercoins:hashes:rate1m > 0"))
            # On a busy machine nothing may be mined at first for long enough to raise an alert.
            api.until(lambda: not api.firing())
            yield api
        finally:
            running.kill()


def test_the_speed_is_that_of_the_page_and_no_alert_fires(mine: Mine, prometheus: PrometheusApi) -> None:
    def history() -> dict[int, float]:
        _, text = http_get(mine.ports["webui"], "/api/history?seconds=60", 20)
        return dict(json.loads(text)["points"])

    begin = int(time.time()) + 1
    end = begin + WINDOW_S
    prometheus.until(lambda: end in history())
    shown = sum(speed for second, speed in history().items() if begin <= second < end) / WINDOW_S
    assert shown > 0
    (recorded,) = prometheus.query(f"avg_over_time(dockercoins:hashes:rate1m[{WINDOW_S // 2}s])", end)
    # Not the same seconds at both ends, and on a busy machine those differ.
    assert float(recorded["value"][1]) == pytest.approx(shown, rel=0.15)
    fired = f'ALERTS{{alertstate="firing", cause!="{OF_A_BUSY_MACHINE}"}}[{WINDOW_S}s]'
    assert prometheus.query(fired, end) == []


def test_records_and_alerts_have_the_series_that_they_are_made_of(mine: Mine, prometheus: PrometheusApi) -> None:
    shares = prometheus.query("dockercoins:completed_batches:share1m")
    found = {(each["metric"]["service"], each["metric"]["replica"], float(each["value"][1])) for each in shares}
    assert found == {(name, mine.running[name].instance, 1) for name in ("rng", "hasher")}
    medians = prometheus.query('dockercoins:batch_seconds:quantile1m{quantile="0.5"}')
    seconds = {each["metric"]["stage"]: float(each["value"][1]) for each in medians}
    assert 0.016 < seconds["rng"] < seconds["total"]
    assert 0.016 < seconds["hasher"] < seconds["total"]
    lags = prometheus.query('dockercoins_event_loop_lag_seconds_bucket{le="0.524288"}')
    assert {series["metric"]["service"] for series in lags} == set(SERVICES)


def test_a_lost_redis_raises_the_alert_of_the_ledger_and_shows_on_the_page(
    mine: Mine, prometheus: PrometheusApi, instances: dict[str, str]
) -> None:
    alert = ("DockerCoinsLedgerBehind", "", instances["worker"])
    mine.redis.stop()
    prometheus.until(lambda: alert in prometheus.firing())
    assert prometheus.query("dockercoins_webui_redis == 0")
    mine.redis.start()
    prometheus.until(lambda: alert not in prometheus.firing())


def test_a_lost_hasher_raises_the_alerts_that_name_it_and_no_others(
    mine: Mine, prometheus: PrometheusApi, instances: dict[str, str]
) -> None:
    expected = {
        ("DockerCoinsNoHashes", "", ""),
        ("DockerCoinsReplicaMissing", "silent", instances["hasher"]),
        ("DockerCoinsReplicaMissing", "unseen", instances["worker"]),
        ("DockerCoinsEventLoopBlocked", "silent", instances["hasher"]),
    }
    mine.running["hasher"].kill()
    prometheus.until(lambda: prometheus.firing() >= expected)
    assert prometheus.firing() == expected
