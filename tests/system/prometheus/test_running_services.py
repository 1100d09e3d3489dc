"""A real Prometheus asks running services: what it knows of them is true, and it says when something is wrong."""

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.prometheus_api import PrometheusApi
from support.redis_server import RedisServer, redis_server
from support.service_process import ServiceProcess, ServiceProcesses, local_target, service_processes
from system.prometheus.prometheus_server import prometheus_server, window

WINDOW = 20
"""Seconds over which two ways of counting are compared."""

SETTLING = 30.0
"""Seconds in which all are started, asked for the first time, and nothing that this told of is left."""

SOON = 30.0
"""Seconds in which an alert that is due is there."""

SPEED = {"PACE": "classic", "DELAY": "0.02", "BATCH_SIZE": "16"}
"""Enough hashes that one more or less is no difference, at little CPU."""


NOT_OURS = 'cause!="late"'
"""On a machine that is busy with other things, processes are held up, and that is rightly told."""


class Mine:
    """One hasher, a worker and a page, and two rngs, and the ports of their metrics."""

    def __init__(self, processes: ServiceProcesses, redis: RedisServer) -> None:
        self.redis = redis
        self.ports: dict[str, list[int]] = {"rng": [], "hasher": [], "worker": [], "webui": []}
        self._processes = processes
        self.rngs = [self._start("rng", **SPEED), self._start("rng", **SPEED)]
        self.hasher = self._start("hasher", **SPEED)
        self.webui = self._start("webui", REDIS_URL=redis.url)
        targets = {"RNG_TARGET": local_target(*self.rngs), "HASHER_TARGET": local_target(self.hasher)}
        self.worker = self._start("worker", REDIS_URL=redis.url, **targets, **SPEED)

    def _start(self, name: str, **environment: str) -> ServiceProcess:
        process = self._processes.start(name, **environment)
        self.ports[name].append(process.metrics_port)
        return process

    def instances(self, name: str) -> set[str]:
        """As Prometheus calls them."""
        return {f"127.0.0.1:{port}" for port in self.ports[name]}

    def history(self, seconds: int) -> dict[int, float]:
        """Hashes by the second, as the page has them."""
        url = f"http://127.0.0.1:{self.webui.port}/api/history?seconds={seconds}"
        with urllib.request.urlopen(url, timeout=5) as response:
            return dict(json.load(response)["points"])


@dataclass
class Seen:
    """What Prometheus said, first while all was well, then while something was not."""

    mine: Mine
    targets: dict[str, str] = field(default_factory=dict)
    speed: float = 0
    shown: float = 0
    """The speed on the page over the same time."""
    recorded: float = 0
    raw: float = 0
    """What the recorded rule should have been when it was recorded."""
    rngs: list[Any] = field(default_factory=list)
    shares: list[Any] = field(default_factory=list)
    quantiles: list[Any] = field(default_factory=list)
    bounds: set[str] = field(default_factory=set)
    """Of the buckets that an alert looks at."""
    firing_at_first: list[Any] = field(default_factory=list)
    without_redis: list[Any] = field(default_factory=list)
    without_hasher: set[tuple[str, str, str]] = field(default_factory=set)


@pytest.fixture(scope="module")
def seen(prometheus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder / "redis"))
        mine = Mine(stack.enter_context(service_processes(folder)), redis)
        asked = stack.enter_context(prometheus_server(prometheus, folder, mine.ports))
        seen = Seen(mine)
        look_while_all_is_well(mine, asked, seen)
        look_while_something_is_wrong(mine, asked, seen)
        yield seen


def look_while_all_is_well(mine: Mine, asked: PrometheusApi, seen: Seen) -> None:
    asked.until(lambda asked: set(asked.targets().values()) == {"up"}, SETTLING)
    seen.targets = asked.targets()
    # It starts on a busy machine, where nothing may be mined for long enough to be told.
    asked.until(is_well, SETTLING)
    begin = int(time.time()) + 2
    end = begin + WINDOW
    asked.until(lambda _: end - 1 in mine.history(60), WINDOW + SETTLING)
    seen.speed = asked.value(f"sum(rate(dockercoins_worker_hashes_total[{WINDOW}s]))", end)
    history = mine.history(60)
    seen.shown = sum(history[second] for second in range(begin, end)) / WINDOW
    seen.recorded = asked.value("dockercoins:hashes:rate1m", end)
    recorded_at = asked.value("timestamp(dockercoins:hashes:rate1m)", end)
    seen.raw = asked.value(f"sum(rate(dockercoins_worker_hashes_total[{window('1m')}]))", recorded_at)
    seen.rngs = asked.query('dockercoins_ready{service="rng"}', end)
    seen.shares = asked.query("dockercoins:answered_batches:share1m", end)
    seen.quantiles = asked.query("dockercoins:batch_seconds:quantile1m", end)
    lags = asked.query("dockercoins_event_loop_lag_seconds_bucket", end)
    seen.bounds = {series["metric"]["le"] for series in lags}
    seen.firing_at_first = asked.query(f'ALERTS{{alertstate="firing", {NOT_OURS}}}[{WINDOW}s]', end)


def is_well(asked: PrometheusApi) -> bool:
    mines = bool(asked.query("dockercoins:hashes:rate1m > 0"))
    return mines and not any(cause != "late" for _, cause, _ in asked.alerts())


def look_while_something_is_wrong(mine: Mine, asked: PrometheusApi, seen: Seen) -> None:
    (worker,) = mine.instances("worker")
    mine.redis.stop()
    asked.until(lambda asked: asked.alerts().get(("DockerCoinsLedgerBehind", "", worker)) == "firing", SOON)
    seen.without_redis = asked.query("dockercoins_webui_redis == 0")
    mine.redis.start()
    asked.until(lambda asked: "DockerCoinsLedgerBehind" not in {name for name, *_ in asked.alerts()}, SOON)
    mine.hasher.kill()
    asked.until(lambda asked: asked.alerts().get(("DockerCoinsNoHashes", "", "")) == "firing", SOON)
    firing = asked.query(f'ALERTS{{alertstate="firing", {NOT_OURS}}}')
    seen.without_hasher = {
        (each["alertname"], each.get("cause", ""), each.get("instance", ""))
        for each in (series["metric"] for series in firing)
    }


def test_everybody_is_asked_and_answers(seen: Seen) -> None:
    expected = {f"{name} {instance}" for name in seen.mine.ports for instance in seen.mine.instances(name)}
    assert len(expected) == 5
    assert seen.targets == dict.fromkeys(expected, "up")


def test_the_rate_of_hashes_is_what_the_page_shows(seen: Seen) -> None:
    # Not the same seconds at both ends, and on a busy machine those differ.
    assert seen.speed == pytest.approx(seen.shown, rel=0.1)
    assert seen.speed > 0


def test_the_recorded_rate_is_that_of_the_counters(seen: Seen) -> None:
    assert seen.recorded == pytest.approx(seen.raw, rel=0.05)
    assert seen.recorded > 0


def test_both_replicas_are_there_under_their_own_instance(seen: Seen) -> None:
    assert {series["metric"]["instance"] for series in seen.rngs} == seen.mine.instances("rng")
    assert len(seen.rngs) == 2


def test_shares_name_each_service_and_replica_and_are_the_whole(seen: Seen) -> None:
    shares = {(each["metric"]["service"], each["metric"]["backend"]): float(each["value"][1]) for each in seen.shares}
    mine = seen.mine
    assert shares.keys() == {
        *(("rng", rng.instance) for rng in mine.rngs),
        ("hasher", mine.hasher.instance),
    }
    for service in ("rng", "hasher"):
        assert sum(share for (name, _), share in shares.items() if name == service) == pytest.approx(1)


def test_a_batch_takes_as_long_as_its_stages(seen: Seen) -> None:
    median = {
        each["metric"]["stage"]: float(each["value"][1])
        for each in seen.quantiles
        if each["metric"]["quantile"] == "0.5"
    }
    assert 0.016 < median["rng"] < median["total"]
    assert 0.016 < median["hasher"] < median["total"]


def test_the_bound_that_an_alert_looks_at_is_one(seen: Seen) -> None:
    assert "0.524288" in seen.bounds


def test_nothing_fires_while_all_is_well(seen: Seen) -> None:
    assert seen.firing_at_first == []


def test_a_lost_redis_is_told_by_those_who_need_it(seen: Seen) -> None:
    """The ledger's alert fired, or there was nothing to look at; the page says so, too."""
    assert {series["metric"]["instance"] for series in seen.without_redis} == seen.mine.instances("webui")


def test_a_lost_hasher_is_told_as_what_it_is(seen: Seen) -> None:
    (hasher,), (worker,) = seen.mine.instances("hasher"), seen.mine.instances("worker")
    assert seen.without_hasher == {
        ("DockerCoinsNoHashes", "", ""),
        ("DockerCoinsBackendMissing", "silent", hasher),
        ("DockerCoinsBackendMissing", "unseen", worker),
        ("DockerCoinsEventLoopBlocked", "silent", hasher),
    }
