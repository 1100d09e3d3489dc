"""The whole system on servers that take over from one another: it mines on, and the page goes on."""

import json
import time
from http import HTTPStatus
from signal import SIGKILL
from urllib.error import HTTPError

import pytest
from support.redis_deployment import Deployment
from support.service_process import ServiceProcess, ServiceProcesses, local_target
from system.webui.test_webui_process import get

# Failing over is a matter of silence, which a busy machine keeps, too.
pytestmark = pytest.mark.pair

SHOWN_WITHIN = 10.0
"""Seconds from a takeover until the page shows more than before."""


def hashes_shown(webui: ServiceProcess) -> int:
    """What the page's server answers; -1 where it can't, for it has not found the new master yet."""
    try:
        return int(json.loads(get(webui, "/json"))["hashes"])
    except HTTPError as error:
        if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return -1


def wait_for_more(webui: ServiceProcess, than: int) -> None:
    deadline = time.monotonic() + SHOWN_WITHIN
    while hashes_shown(webui) <= than:
        assert time.monotonic() < deadline, webui.text
        time.sleep(0.1)


def test_it_mines_on_and_counts_each_hash_once(deployment: Deployment, processes: ServiceProcesses) -> None:
    rng, hasher = processes.start("rng", DELAY=0), processes.start("hasher", DELAY=0)
    targets = {"RNG_TARGET": local_target(rng), "HASHER_TARGET": local_target(hasher)}
    workers = [processes.start("worker", REDIS_URL=deployment.url, DELAY=0.02, **targets) for _ in range(2)]
    webui = processes.start("webui", REDIS_URL=deployment.url)
    for process in (*workers, webui):
        process.wait_until_started()
    wait_for_more(webui, than=20)
    before = hashes_shown(webui)
    old = deployment.master
    old.stop(SIGKILL)
    deployment.until_taken_over(old)
    wait_for_more(webui, than=before + 20)
    assert get(webui, "/readyz") == "ready\n"
    for worker in workers:
        assert worker.stop() == 0, worker.text
    mined = sum(worker.units_logged for worker in workers)
    assert int(deployment.ask("GET", deployment.keys.hashes)) == mined
    deadline = time.monotonic() + SHOWN_WITHIN
    while hashes_shown(webui) != mined:
        assert time.monotonic() < deadline, f"{hashes_shown(webui)}, not {mined}; {webui.text}"
        time.sleep(0.1)
    shown = json.loads(get(webui, "/api/history?seconds=60&by=worker"))
    assert len(shown["workers"]) == 2, shown
