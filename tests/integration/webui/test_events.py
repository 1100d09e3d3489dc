import json
import socket
import time

import pytest
from integration.webui.conftest import Metric
from support.redis_server import RedisServer
from support.reports import WORKER, Reports, replica
from support.waiting import until
from support.webui_page import Events, Page, webui_page

from chassis.telemetry import Telemetry
from webui_svc import sse
from webui_svc.sse import BROWSERS


async def test_a_browser_gets_a_snapshot_then_what_changes_and_what_it_missed_when_it_comes_back(
    page: Page, reports: Reports, metric: Metric, now: int
) -> None:
    began = time.monotonic()
    async with page.get("/events") as response, page.get("/events") as other:
        assert response.content_type == "text/event-stream"
        events = Events(response)
        name, data = await events.next()
        assert name == "snapshot"
        assert (data["points"], data["redis"], data["workers"], data["hashes"]) == ([], True, 0, 0)
        before = {"Last-Event-ID": events.last_id}
        reports.add_seconds(now - 6, 5, batch_size=16, pace="full")
        data = await events.until(lambda data: data["points"])
        assert data["points"][0] == [now - 6, 10]
        data = await events.until(lambda data: data["hashes"] == 50)
        assert (data["workers"], data["paces"], data["batch_size"]) == (1, ["full"], [16, 16])
        reports.add_seconds(now - 1, 1)
        data = await events.until(lambda data: data["points"])
        assert data["points"] == [[now - 1, 10]]
        assert await Events(other).until(lambda other_data: other_data["now"] == data["now"]) == data
    async with page.get("/events", headers=before) as response:
        assert (await Events(response).next())[0] == "update"
    assert metric("lag_seconds_count") == 6
    assert 0 < metric("lag_seconds_sum") < 6 * (time.monotonic() - began)


async def test_what_workers_report_of_replicas_coins_and_changes_is_sent_and_outlives_webui(
    page: Page, redis: RedisServer, reports: Reports, now: int
) -> None:
    digest = "0a" * 32
    async with page.get("/events") as response:
        events = Events(response)
        _, data = await events.next()
        assert (data["annotations"], data["topology"]["webui"]["name"]) == ([], "webui-1")
        assert data["topology"]["redis"] == {"name": "127.0.0.1", "state": "serving", "reports": 0}
        reports.see([replica("rng-1"), replica("rng-2", batches=1)], [replica("hasher-1", "slow", 0)], [[digest, now]])
        reports.add_seconds(now - 3, 1, 160, coins=11)
        data = await events.until(lambda data: "topology" in data and data["topology"]["rng"]["replicas"])
        topology, coins = data["topology"], data["coin_statistics"]
        assert [(each["share"], each["rate"]) for each in topology["rng"]["replicas"]] == [(0.75, 3), (0.25, 1)]
        assert [each["state"] for each in topology["hasher"]["replicas"]] == ["slow"]
        (worker,) = topology["worker"]["replicas"]
        assert (worker["name"], worker["id"], worker["batch_size"]) == ("worker-1", WORKER, 1)
        assert coins["latest"] == [{"digest": digest, "at": pytest.approx(now, abs=2), "bits": 4, "worker": WORKER}]
        assert (coins["minute"], coins["expected"]) == (11, 10)
        reports.add_seconds(now - 2, 1)  # says nothing of replicas: what was read before counts once
        topology = await events.until_part("topology", lambda topology: topology["redis"]["reports"] > 0.2)
        assert topology["rng"]["replicas"][0]["rate"] == 3
        reports.see([replica("rng-1"), replica("rng-2", "gone", 0)], [replica("hasher-1")])
        reports.annotate(now - 1, "left", "rng", "rng-2")
        reports.annotate(now, "autotuned", "worker", "worker-1", value="16 x 4 1.004 (0.989 to 1.019) of 16 x 8")
        reports.client.xadd("annotations", {"kind": "odd"})
        reports.add_seconds(now - 1, 1, batch_size=16)
        await events.until_part("topology", lambda topology: topology["rng"]["replicas"][1]["state"] == "gone")
    async with page.get("/events") as response:
        _, data = await Events(response).next()
    assert [(each["kind"], each["service"], each["names"], each["value"]) for each in data["annotations"]] == [
        ("left", "rng", ["rng-2"], None),
        ("autotuned", "worker", ["worker-1"], "16 x 4 1.004 (0.989 to 1.019) of 16 x 8"),
    ]
    async with webui_page(redis.url) as restarted, restarted.get("/events") as response:
        found = await Events(response).until(lambda found: found.get("annotations"))
    assert [each["id"] for each in found["annotations"]] == [each["id"] for each in data["annotations"]]


async def test_stored_load_tests_are_announced_and_can_be_fetched(page: Page, redis: RedisServer) -> None:
    async with page.get("/api/load-tests") as response:
        assert await response.json() == {"reports": []}
    stored = {"began": "2026-11-24T22:00:00+00:00", "points": [{"point": {}, "summary": {}}] * 100}
    async with page.get("/events") as response:
        redis.client().lpush("load_tests", "no report", json.dumps(stored))
        announced = await Events(response).until_part("load_tests", lambda load_tests: load_tests["count"])
        assert announced == {"count": 1, "newest": stored["began"]}
    async with page.get("/api/load-tests") as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert await response.json() == {"reports": [stored]}


@pytest.mark.parametrize(
    ("most", "of_a_client", "refused"), [(2, 500, (503, "no more are served")), (500, 2, (429, "STREAMS_PER_CLIENT"))]
)
async def test_streams_are_counted_and_those_too_many_are_refused(
    redis: RedisServer,
    telemetry: Telemetry,
    metric: Metric,
    monkeypatch: pytest.MonkeyPatch,
    *,
    most: int,
    of_a_client: int,
    refused: tuple[int, str],
) -> None:
    monkeypatch.setattr(sse, "MAX_STREAMS", most)
    async with webui_page(redis.url, telemetry, streams_per_client=of_a_client) as page:
        async with page.get("/events"), page.get("/events"):
            assert metric("streams") == 2
            async with page.get("/events") as response:
                assert (response.status, refused[1] in await response.text()) == (refused[0], True)
                assert response.headers["Retry-After"] == "5"
            assert metric("streams_refused_total") == 1
        await until(lambda: metric("streams") == 0)
        async with page.get("/events") as response:
            assert response.status == 200


def open_without_reading(page: Page) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect((page.host, page.port))
    connection.sendall(b"GET /events HTTP/1.1\r\nHost: webui\r\n\r\n")
    return connection


async def test_browsers_that_do_not_read_are_dropped_and_hold_up_no_other(
    page: Page, metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "WRITE_LIMIT_S", 2.0)
    stuck = [open_without_reading(page) for _ in range(10)]
    await until(lambda: metric("streams") == 10)
    browsers = page.server.app[BROWSERS]  # type: ignore[attr-defined] # it is a TestServer, which has one
    update = b"event: update\ndata: {}\n: %b\n\n" % (b"x" * 50_000)
    async with page.get("/events") as response:
        events = Events(response)
        await events.next()
        with monkeypatch.context() as patch:
            patch.setattr(browsers, "_update", lambda: update)
            for _ in range(30):  # more than buffers hold
                browsers.publish()
                assert (await events.next())[0] == "update"
        await until(lambda: metric("streams") == 1)
        assert metric("streams_dropped_total") == 10
    for connection in stuck:
        connection.close()
