"""The spans of the page's requests."""

import http.client

import pytest
from support.free_port import free_port
from support.otlp_receiver import OtlpReceiver
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def get(webui: ServiceProcess, path: str, traceparent: str = "") -> int:
    """The status of the answer, of which no more is read than that."""
    connection = http.client.HTTPConnection("127.0.0.1", webui.port, timeout=5)
    try:
        connection.request("GET", path, headers={"traceparent": traceparent} if traceparent else {})
        return connection.getresponse().status
    finally:
        connection.close()


def webui(processes: ServiceProcesses, redis_url: str, collector: OtlpReceiver, **settings: object) -> ServiceProcess:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": 100}
    started = processes.start("webui", REDIS_URL=redis_url, **endpoint, **settings)
    started.wait_until_started()
    return started


@pytest.mark.parametrize("pace", ["classic", "full"])
def test_each_request_but_those_for_files_is_a_trace(
    pace: str, processes: ServiceProcesses, redis: RedisServer, collector: OtlpReceiver
) -> None:
    """At either pace: people ask seldom. An answer that goes on, as of /events, is over when it begins."""
    page = webui(processes, redis.url, collector, PACE=pace)
    paths = ["/", "/api/history?seconds=60", "/api/history?seconds=x", "/api/load-tests"]
    assert [get(page, path) for path in paths] == [200, 200, 400, 200]
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=5)
    connection.request("GET", "/events")
    assert connection.getresponse().status == 200
    for path in ("/static/page.js", "/healthz", "/readyz", "/nothing", "/static/nothing"):
        get(page, path)
    names = ["GET /", "GET /api/history", "GET /api/history", "GET /api/load-tests", "GET /events"]
    collector.wait_for(lambda spans: len(spans) >= len(names))
    connection.close()
    assert page.stop() == 0
    spans = collector.spans()
    assert [span.name for span in spans] == names
    assert [span.attributes["http.response.status_code"] for span in spans] == [200, 200, 400, 200, 200]
    for span in spans:
        assert (span.kind, span.service, span.parent, span.error) == ("SERVER", "webui", "", None)
        assert span.attributes["http.request.method"] == "GET"
        assert span.attributes["http.route"] == span.name.removeprefix("GET ")
        assert span.seconds < 2


def test_a_request_goes_on_with_its_clients_trace(
    processes: ServiceProcesses, redis: RedisServer, collector: OtlpReceiver
) -> None:
    page = webui(processes, redis.url, collector)
    get(page, "/", f"00-{TRACE}-{SPAN}-01")
    get(page, "/", f"00-{TRACE}-{SPAN}-00")
    assert page.stop() == 0
    (span,) = collector.spans()
    assert (span.trace, span.parent) == (TRACE, SPAN)


def test_an_answer_that_is_no_success_of_ours_is_an_error(processes: ServiceProcesses, collector: OtlpReceiver) -> None:
    page = webui(processes, f"redis://127.0.0.1:{free_port()}", collector)
    assert get(page, "/json") == 503
    assert page.stop() == 0
    (span,) = collector.spans()
    assert (span.name, span.error, span.attributes["http.response.status_code"]) == ("GET /json", "503", 503)
