"""Spans of services in this process, as a collector receives them over OTLP/HTTP."""

import gc
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from dockercoins.hasher.v1.hasher_service_pb2 import HashRequest, StreamHashesRequest
from dockercoins.hasher.v1.hasher_service_pb2_grpc import HasherServiceStub
from dockercoins.rng.v1.rng_service_pb2 import GetRandomBytesRequest, StreamRandomBytesRequest
from dockercoins.rng.v1.rng_service_pb2_grpc import RngServiceStub
from support import served
from support.free_port import free_port
from support.otlp_receiver import OtlpReceiver, Span, otlp_receiver
from support.redis_server import RedisServer
from support.waiting import until
from support.webui_page import Page, is_ready, webui_page

from chassis.health import Health
from chassis.settings import ServiceSettings, SettingsError
from chassis.telemetry import Telemetry
from chassis.telemetry import tracing as tracing_module
from chassis.telemetry.tracing import open_tracing
from hasher_svc.settings import HasherSettings
from rng_svc.settings import RngSettings
from webui_svc.settings import WebuiSettings
from worker_svc import worker as worker_service
from worker_svc.settings import WorkerSettings
from worker_svc.worker import worker

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
TRACED = f"00-{TRACE}-{SPAN}-01"
NOT_TRACED = f"00-{TRACE}-{SPAN}-00"

RNG = "dockercoins.rng.v1.RngService/StreamRandomBytes"
HASHER = "dockercoins.hasher.v1.HasherService/StreamHashes"
UNFINISHED = "no response when the worker stopped"
FAULT = "UNAVAILABLE: fault injected by FAULT_ERROR_RATE"

# Waits end a little before their time (chassis.timing.TIMER_SLACK_S), and two clocks are compared.
EARLY_S = 0.02

SERVERS: Mapping[str, Any] = {"rng": (served.rng, RngSettings), "hasher": (served.hasher, HasherSettings)}


@pytest.fixture
def short_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker waits less than usual for what is never answered."""
    monkeypatch.setattr(worker_service, "DRAIN_LIMIT_S", 0.2)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """A collector that has all spans of a service once that has stopped, and most of them soon."""
    monkeypatch.setattr(tracing_module, "FLUSH_LIMIT_S", 30.0)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "handlers", [])
    with otlp_receiver() as receiver:
        yield receiver


@asynccontextmanager
async def traced(name: str, settings: ServiceSettings, *conditions: str) -> AsyncIterator[Telemetry]:
    async with open_tracing(name, settings, lambda: 30.0) as tracing:
        telemetry = Telemetry(Health(*conditions), tracing=tracing)
        telemetry.health.started()
        yield telemetry


@asynccontextmanager
async def server(name: str, collector: OtlpReceiver, **settings: Any) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a traced server."""
    serve, settings_class = SERVERS[name]
    defaults = {"pace": "full", "instance": f"{name}-1", "otel_exporter_otlp_endpoint": collector.url}
    values = defaults | settings
    async with traced(name, settings_class(**values)) as telemetry, serve(telemetry, **values) as channel:
        yield channel


@asynccontextmanager
async def mine(
    collector: OtlpReceiver, redis: RedisServer, *faults: Mapping[str, object], pace: str = "full", **settings: object
) -> AsyncIterator[None]:
    """A worker, a rng and a hasher for each of these faults, all of them traced."""
    values = {"otel_exporter_otlp_endpoint": collector.url, "pace": pace, "otel_traces_sampler_arg": 1, **settings}
    rng_port = free_port()
    hashers = []
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server("rng", collector, port=rng_port, pace=pace))
        for number, fault in enumerate(faults, 1):
            place = {"port": free_port(), "instance": f"hasher-{number}"}
            await stack.enter_async_context(server("hasher", collector, pace=pace, **place, **fault))
            hashers.append(f"127.0.0.1:{place['port']}")
        worker_settings = WorkerSettings(
            instance="worker-1",
            redis_url=redis.url,
            rng_target=f"ipv4:127.0.0.1:{rng_port}",
            hasher_target=f"ipv4:{','.join(hashers)}",
            report_interval=0.2,
            **values,
        )
        telemetry = await stack.enter_async_context(traced("worker", worker_settings, "rng", "hasher", "redis"))
        await stack.enter_async_context(worker(worker_settings, telemetry))
        yield


def counted(collector: OtlpReceiver) -> list[Span]:
    """The traces of batches that were counted."""
    return [batch for batch in collector.roots("batch") if batch.error is None]


def identity(span: Span) -> tuple[str, str, str, str]:
    return span.name, span.kind, span.service, span.instance


@pytest.mark.parametrize(("pace", "size"), [("classic", 1), ("full", 16_384)])
async def test_a_batch_is_a_trace_with_both_stages_on_both_sides(
    pace: str, size: int, redis: RedisServer, collector: OtlpReceiver
) -> None:
    """At full pace all messages are large enough to go past protobuf."""
    async with mine(collector, redis, {}, pace=pace, batch_size=size, window_size=2):
        await until(lambda: redis.hashes >= 6 * size)
    batches = counted(collector)
    assert len(batches) * size == redis.hashes
    assert {batch.error for batch in collector.roots("batch")} <= {None, UNFINISHED}
    for batch in batches:
        assert identity(batch) == ("batch", "INTERNAL", "worker", "worker-1")
        assert batch.attributes["dockercoins.batch.size"] == size
        first, second = batch.children
        assert first.end <= second.start
        for stage, name, method in ((first, "rng", RNG), (second, "hasher", HASHER)):
            assert identity(stage) == (name, "CLIENT", "worker", "worker-1")
            (at_server,) = stage.children
            assert identity(at_server) == (method, "SERVER", name, f"{name}-1")
            assert batch.start <= stage.start <= at_server.start <= at_server.end <= stage.end <= batch.end
            service, _, call = method.partition("/")
            rpc = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": call}
            assert rpc.items() <= stage.attributes.items()
            assert stage.attributes["dockercoins.replica"] == f"{name}-1"
            assert stage.events == [("sent", {"dockercoins.replica": f"{name}-1"})]
            assert 0 <= at_server.attributes["dockercoins.waited_seconds"] <= at_server.seconds
            assert pace == "full" or at_server.seconds >= 0.1 - EARLY_S
        assert pace == "full" or first.start - batch.start >= 0.1 - EARLY_S
    assert len({batch.trace for batch in batches}) == len(batches)
    assert len({batch.attributes["dockercoins.batch.id"] for batch in batches}) == len(batches)
    if pace == "classic":  # two batches are in flight, and a serial rng has the second one wait
        assert max(span.attributes["dockercoins.waited_seconds"] for span in collector.spans(RNG)) > 0.05


async def test_the_worker_decides_which_batches_are_traced_and_servers_go_by_that(
    redis: RedisServer, collector: OtlpReceiver
) -> None:
    async with mine(collector, redis, {}, otel_traces_sampler_arg=0.5, batch_size=256, window_size=4):
        await until(lambda: redis.hashes >= 256 * 40)
    batches = counted(collector)
    assert 0 < len(batches) < redis.hashes / 256
    assert all([len(stage.children) for stage in batch.children] == [1, 1] for batch in batches)
    at_servers = {span.trace for span in collector.spans() if span.kind == "SERVER"}
    assert at_servers <= {batch.trace for batch in collector.roots("batch")}


async def test_a_broken_stream_shows_in_its_outstanding_batches(redis: RedisServer, collector: OtlpReceiver) -> None:
    def broken() -> list[Span]:
        stages = [batch.child("hasher") for batch in counted(collector)]
        return [stage for stage in stages if len(stage.children) > 1]

    async with mine(collector, redis, {"fault_error_rate": 0.5}, batch_size=1, window_size=1, delay=0.01):
        await until(broken)
    for stage in broken():
        replica = {"dockercoins.replica": "hasher-1"}
        *failed, answered = stage.children
        retry = [
            ("stream broken", {**replica, "dockercoins.reason": FAULT}),
            ("retried", {**replica, "dockercoins.reason": "broken"}),
        ]
        assert stage.events == [("sent", replica), *len(failed) * retry]
        assert {at_server.error for at_server in failed} == {FAULT}
        assert (answered.error, stage.error) == (None, None)


@pytest.mark.usefixtures("short_drain")
async def test_a_hedged_batch_shows_both_replicas(redis: RedisServer, collector: OtlpReceiver) -> None:
    to_slow = ("sent", {"dockercoins.replica": "hasher-2"})

    def hedged() -> list[Span]:
        stages = (batch.child("hasher") for batch in counted(collector))
        return [stage for stage in stages if stage.events[0] == to_slow and len(stage.events) == 2]

    async with mine(collector, redis, {}, {"fault_hang_rate": 1}, batch_size=16, window_size=4, delay=0.05):
        await until(hedged)
    for stage in hedged():
        assert stage.events[1] == ("hedged", {"dockercoins.replica": "hasher-1", "dockercoins.reason": "overdue"})
        assert stage.attributes["dockercoins.replica"] == "hasher-1"
        assert stage.seconds >= 0.5 - EARLY_S
        assert "hasher-1" in {at_server.instance for at_server in stage.children if at_server.error is None}
    hung = [span for stage in hedged() for span in stage.children if span.instance == "hasher-2"]
    assert {span.error for span in hung} == {"CANCELLED"}


@pytest.mark.usefixtures("short_drain")
async def test_a_batch_that_is_never_answered_ends_with_an_error(redis: RedisServer, collector: OtlpReceiver) -> None:
    async with mine(collector, redis, {"fault_hang_rate": 1}, pace="classic"):
        await until(lambda: collector.spans(RNG))
    (batch,) = collector.roots("batch")
    stage = batch.child("hasher")
    (hung,) = stage.children
    assert batch.child("rng").error is None
    assert (batch.error, stage.error, hung.error) == (UNFINISHED, UNFINISHED, "CANCELLED")


async def test_each_attempt_to_report_is_a_trace_and_fails_while_redis_is_away(
    own_redis: RedisServer, collector: OtlpReceiver
) -> None:
    def reports(*, failed: bool) -> list[Span]:
        return [span for span in collector.spans("report") if bool(span.error) is failed]

    async with mine(collector, own_redis, {}, pace="classic"):
        await until(lambda: reports(failed=False))
        own_redis.stop()
        await until(lambda: len(reports(failed=True)) >= 2)
        own_redis.start()
        taken = len(reports(failed=False))
        await until(lambda: len(reports(failed=False)) > taken)
    good, failed = reports(failed=False), reports(failed=True)
    assert [span.attributes["dockercoins.report.sequence"] for span in good] == list(range(1, len(good) + 1))
    assert sum(span.attributes["dockercoins.report.hashes"] for span in good) == own_redis.hashes
    assert {(span.kind, span.parent, span.instance) for span in good + failed} == {("CLIENT", "", "worker-1")}
    (sequence,) = {span.attributes["dockercoins.report.sequence"] for span in failed}
    attempts = [span for span in good + failed if span.attributes["dockercoins.report.sequence"] == sequence]
    numbers = sorted(span.attributes["dockercoins.report.attempt"] for span in attempts)
    assert numbers == list(range(1, len(failed) + 2))
    assert {str(span.error).split(":")[0] for span in failed} <= {"ConnectionError", "TimeoutError", "BusyLoadingError"}


def metadata(traceparent: str) -> Any:
    return (("traceparent", traceparent),)


async def test_a_single_call_continues_the_trace_that_its_metadata_name(collector: OtlpReceiver) -> None:
    async with server("hasher", collector, delay=0.1) as channel:
        for given in (metadata(TRACED), metadata(NOT_TRACED), None):
            await HasherServiceStub(channel).Hash(HashRequest(data=b"x"), metadata=given)
    (span,) = collector.spans()
    assert identity(span) == ("dockercoins.hasher.v1.HasherService/Hash", "SERVER", "hasher", "hasher-1")
    assert (span.trace, span.parent, span.error) == (TRACE, SPAN, None)
    assert span.seconds >= 0.1 - EARLY_S


async def test_the_span_of_a_request_that_fails_has_the_reason(collector: OtlpReceiver) -> None:
    async with server("rng", collector, delay=10) as channel:
        stub = RngServiceStub(channel)
        bad = StreamRandomBytesRequest(batches=[StreamRandomBytesRequest.Batch(count=0, size=1, traceparent=TRACED)])
        assert await stub.GetRandomBytes(GetRandomBytesRequest(size=0), metadata=metadata(TRACED)).code()
        await stub.StreamRandomBytes(iter([bad])).code()
        assert await stub.GetRandomBytes(GetRandomBytesRequest(size=1), timeout=1, metadata=metadata(TRACED)).code()
    assert [(span.trace, span.parent, span.error) for span in collector.spans()] == [
        (TRACE, SPAN, "INVALID_ARGUMENT: size: 0 is not allowed, it must be 1 to 2097152 bytes"),
        (TRACE, SPAN, "INVALID_ARGUMENT: batches[0].count: 0 is not allowed, it must be 1 to 65536 messages"),
        (TRACE, SPAN, "CANCELLED"),
    ]


async def test_only_the_traced_batches_of_a_stream_have_spans(collector: OtlpReceiver) -> None:
    batches = [
        StreamHashesRequest.Batch(batch_id=number, data=bytes(8_192), message_size=32, traceparent=text)
        for number, text in enumerate(["", TRACED, "nonsense", NOT_TRACED, TRACED])
    ]
    requests = [StreamHashesRequest(batches=each) for each in (batches[:1], batches[1:3], batches[3:])]
    async with server("hasher", collector, otel_traces_sampler_arg=0) as channel:
        stream = HasherServiceStub(channel).StreamHashes(iter(requests), metadata=metadata(TRACED))
        assert [len(batch.digests) async for answer in stream for batch in answer.batches] == [8_192] * 5
    assert [(span.trace, span.parent) for span in collector.spans()] == [(TRACE, SPAN)] * 2


@asynccontextmanager
async def traced_page(collector: OtlpReceiver, redis_url: str) -> AsyncIterator[Page]:
    settings = WebuiSettings(instance="webui-1", otel_exporter_otlp_endpoint=collector.url)
    async with traced("webui", settings, "redis") as telemetry, webui_page(redis_url, telemetry) as page:
        yield page


async def test_each_request_to_the_page_is_a_trace_until_its_answer_begins(
    redis: RedisServer, collector: OtlpReceiver
) -> None:
    """Files and probes have no span."""
    paths = {"/": 200, "/api/history?seconds=60": 200, "/api/history?seconds=x": 400, "/api/load-tests": 200}
    paths["/events"] = 200
    async with traced_page(collector, redis.url) as page:
        await until(lambda: is_ready(page))
        for path in (*paths, "/static/page.js", "/healthz", "/readyz", "/nothing", "/static/nothing"):
            await page.get(path)
        await until(lambda: len(collector.spans()) >= len(paths))  # that of /events, too, which is still open
    for span, (path, status) in zip(collector.spans(), paths.items(), strict=True):
        route = path.partition("?")[0]
        assert identity(span) == (f"GET {route}", "SERVER", "webui", "webui-1")
        assert (span.parent, span.error) == ("", None)
        http = {"http.request.method": "GET", "http.route": route, "http.response.status_code": status}
        assert http.items() <= span.attributes.items()


async def test_a_request_to_the_page_continues_its_clients_trace_and_fails_without_redis(
    collector: OtlpReceiver,
) -> None:
    async with traced_page(collector, f"redis://127.0.0.1:{free_port()}") as page:
        await page.get("/", headers={"traceparent": TRACED})
        await page.get("/", headers={"traceparent": NOT_TRACED})
        await page.get("/json")
    continued, failed = collector.spans()
    assert (continued.name, continued.trace, continued.parent) == ("GET /", TRACE, SPAN)
    assert (failed.name, failed.error, failed.attributes["http.response.status_code"]) == ("GET /json", "503", 503)


async def test_a_variable_that_only_the_sdk_reads_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    settings = RngSettings(otel_exporter_otlp_endpoint="http://collector")
    with pytest.raises(SettingsError, match=r"a variable OTEL_… is not allowed: max_queue_size must be a positive"):
        async with open_tracing("rng", settings, lambda: 0.0):
            pass


async def test_spans_that_no_collector_takes_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10,000, the 2,048 that wait and the 512 that are being sent are kept."""
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "handlers", [])
    # The SDK's thread ends with the test: it would retry in the middle of others.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    monkeypatch.setattr(tracing_module, "FLUSH_LIMIT_S", 30.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = RngSettings(otel_exporter_otlp_endpoint=endpoint, pace="full", otel_traces_sampler_arg=1)
        async with open_tracing("rng", settings, lambda: 30.0) as tracing:
            for _ in range(10_000):
                tracing.root(1, "batch", "INTERNAL", {}).end()
            gc.collect()
            kept = sum(isinstance(each, tracing_module.Span) for each in gc.get_objects())
    assert 2_048 <= kept <= 2_048 + 2 * 512
