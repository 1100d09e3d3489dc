"""Traces of services as processes: from end to end, with collectors in trouble, and without one."""

import socket
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.free_port import free_port
from support.otlp_receiver import otlp_receiver
from support.redis_server import RedisServer
from support.service_process import ServiceProcess, ServiceProcesses, local_target
from support.waiting import wait_until

SERVICES = ("rng", "hasher", "worker", "webui")


def start(
    processes: ServiceProcesses, redis: RedisServer, settings: Mapping[str, Mapping[str, object]]
) -> dict[str, ServiceProcess]:
    """A mine of all services, each with its settings."""
    started = {name: processes.start(name, **settings[name]) for name in ("rng", "hasher")}
    targets = {f"{name.upper()}_TARGET": local_target(server) for name, server in started.items()}
    started["worker"] = processes.start("worker", REDIS_URL=redis.url, **targets, **settings["worker"])
    started["webui"] = processes.start("webui", REDIS_URL=redis.url, **settings["webui"])
    started["webui"].wait_until_started()
    return started


def stop(mine: Mapping[str, ServiceProcess]) -> None:
    """Stop all in the order of `make run` and compose; each is in time, or it would end with 1."""
    for name in ("webui", "worker", "rng", "hasher"):
        assert mine[name].stop() == 0, mine[name].text


def hashes_in(redis: RedisServer) -> int:
    return int(redis.client().get("hashes") or 0)


def get_page(webui: ServiceProcess) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{webui.port}/", timeout=30):
        pass


def test_spans_of_all_services_are_one_system_at_the_collector(processes: ServiceProcesses, redis: RedisServer) -> None:
    with otlp_receiver() as collector:
        everywhere = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/under/",
            "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=class,room=7",
            "OTEL_BSP_SCHEDULE_DELAY": 100,
        }
        mine = start(processes, redis, dict.fromkeys(SERVICES, everywhere))
        get_page(mine["webui"])
        wait_until(lambda: len([span for span in collector.roots("batch") if len(span.children) == 2]) >= 3)
        wait_until(lambda: collector.spans("GET /") and collector.spans("report"))
        stop(mine)
    first = collector.roots("batch")[0]
    assert [(stage.name, stage.instance) for stage in first.children] == [
        ("rng", mine["worker"].instance),
        ("hasher", mine["worker"].instance),
    ]
    assert [served.instance for stage in first.children for served in stage.children] == [
        mine["rng"].instance,
        mine["hasher"].instance,
    ]
    assert collector.paths == {"/under/v1/traces"}
    assert {span.service for span in collector.spans()} == set(SERVICES)
    assert {(span.resource["service.namespace"], span.resource["room"]) for span in collector.spans()} == {
        ("class", "7")
    }


@contextmanager
def hanging() -> Iterator[int]:
    """Connections are made, and nothing that is sent is read."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_000) as listener:
        yield listener.getsockname()[1]


@contextmanager
def refusing(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


def test_a_collector_in_trouble_costs_spans_and_nothing_else(processes: ServiceProcesses, redis: RedisServer) -> None:
    """That of rng is away, hasher's refuses, webui's is overloaded, and the worker's hangs."""
    with ExitStack() as stack:
        ports = {
            "rng": free_port(),
            "hasher": stack.enter_context(refusing(400)),
            "worker": stack.enter_context(hanging()),
            "webui": stack.enter_context(refusing(503)),
        }
        settings = {
            name: {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": 100}
            for name, port in ports.items()
        }
        mine = start(processes, redis, settings)
        get_page(mine["webui"])
        for name in ("rng", "hasher", "webui"):  # what hangs shows after ten seconds
            mine[name].wait_for("trouble with traces.*to=collector")
        before = hashes_in(redis)
        wait_until(lambda: hashes_in(redis) > before)
        stop(mine)
    assert hashes_in(redis) == mine["worker"].units_logged > 0
    for process in mine.values():
        assert process.text.count("trouble with traces") <= 2  # the first, and at the end those that were held back
        assert "Traceback" not in process.text
        assert "opentelemetry" not in process.text


@pytest.mark.parametrize("service", SERVICES)
def test_opentelemetry_is_not_imported_without_a_collector(service: str, processes: ServiceProcesses) -> None:
    process = processes.start(
        service,
        PYTHONPROFILEIMPORTTIME=1,
        REDIS_URL=f"redis://127.0.0.1:{free_port()}",
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        OTEL_TRACES_SAMPLER="jaeger_remote",
    )
    process.wait_until_started()
    assert process.stop() == 0
    imported = {line.rpartition("|")[2].strip() for line in process.text.splitlines() if line.startswith("import time")}
    assert "chassis.process" in imported
    # redis-py tries to import opentelemetry.sdk.metrics, which is noted although it is kept from that.
    tracing = ("opentelemetry.exporter", "opentelemetry.sdk.resources", "opentelemetry.sdk.trace")
    assert not {name for name in imported if name.startswith(tracing)}
