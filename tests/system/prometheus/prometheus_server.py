"""A real Prometheus with this project's configuration, in which time runs faster."""

import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from support.compose_project import ROOT
from support.prometheus_api import PrometheusApi

FOLDER = ROOT / "deploy" / "prometheus"

FASTER = 5
"""All intervals and windows are this much shorter, so that nobody waits a minute for an alert."""

START_LIMIT = 20.0
"""Seconds."""

_DURATION = re.compile(r"\b([0-9]+)(s|m)\b")

_MILLISECONDS = {"s": 1_000, "m": 60_000}


def _shorter(text: str) -> str:
    """With all durations FASTER times as short."""
    return _DURATION.sub(lambda found: f"{int(found[1]) * _MILLISECONDS[found[2]] // FASTER}ms", text)


def window(text: str) -> str:
    """What this duration in the rules has become, as PromQL has it."""
    return _shorter(text)


def write_configuration(folder: Path, ports: Mapping[str, Sequence[int]]) -> Path:
    """The project's own, but for the time, and with these ports by service for what DNS would say.

    Prometheus asks only the system's name servers.
    """
    configuration: Any = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    configuration["global"] = {name: _shorter(duration) for name, duration in configuration["global"].items()}
    (scraped,) = configuration["scrape_configs"]
    names = [name for asked in scraped.pop("dns_sd_configs") for name in asked["names"]]
    assert set(names) == set(ports)
    scraped["static_configs"] = [
        {"targets": [f"127.0.0.1:{port}" for port in ports[name]], "labels": {"__meta_dns_name": name}}
        for name in names
    ]
    rules: Any = yaml.safe_load((FOLDER / "rules.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule.update({key: _shorter(rule[key]) for key in ("expr", "for") if key in rule})
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    return path


@contextmanager
def prometheus_server(program: str, folder: Path, ports: Mapping[str, Sequence[int]]) -> Iterator[PrometheusApi]:
    """One that asks these ports."""
    command = [
        program,
        f"--config.file={write_configuration(folder, ports)}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    output = folder / "output.log"
    with output.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            api = PrometheusApi(_port(running, output))
            api.until(PrometheusApi.is_ready, START_LIMIT)
            yield api
        finally:
            running.kill()


def _port(running: "subprocess.Popen[bytes]", output: Path) -> int:
    """Where it says that it listens."""
    deadline = time.monotonic() + START_LIMIT
    while not (said := re.search(r'"Listening on" .*address=127\.0\.0\.1:([0-9]+)', output.read_text())):
        assert running.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)
    return int(said[1])
