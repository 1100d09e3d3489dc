import socket
from contextlib import ExitStack

from support.admin_endpoint import http_get
from support.free_port import free_port
from support.mine import READY, SERVICES, Mine
from support.otlp_receiver import otlp_receiver
from support.waiting import wait_until


def mine_and_show(mine: Mine) -> None:
    for name in SERVICES:
        mine.until(name, READY)
    mine.mines_on()
    assert http_get(mine.ports["webui"], "/", 30)[0] == 200


def stop(mine: Mine) -> None:
    """Stop all in the order of `make run` and compose; each is in time, or it would end with 1."""
    for name in ("webui", "worker", "rng", "hasher"):
        assert mine.running[name].stop() == 0, mine.running[name].text


def test_spans_of_all_services_are_one_system_at_the_collector(mine: Mine) -> None:
    with otlp_receiver() as collector:
        mine.start_all(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"{collector.url}/under/",
            OTEL_RESOURCE_ATTRIBUTES="room=7",
            OTEL_BSP_SCHEDULE_DELAY=100,
        )
        mine_and_show(mine)
        wait_until(lambda: [batch for batch in collector.roots("batch") if len(batch.children) == 2])
        wait_until(lambda: collector.spans("GET /") and collector.spans("report"))
        stop(mine)
    stages = collector.roots("batch")[0].children
    assert [(stage.name, stage.service) for stage in stages] == [("rng", "worker"), ("hasher", "worker")]
    assert [served.service for stage in stages for served in stage.children] == ["rng", "hasher"]
    assert collector.paths == {"/under/v1/traces"}
    assert {(span.service, span.instance, span.resource["room"]) for span in collector.spans()} == {
        (name, process.instance, "7") for name, process in mine.running.items()
    }


def test_a_collector_in_trouble_costs_spans_and_nothing_else(mine: Mine) -> None:
    """That of rng is away, hasher's refuses, webui's is overloaded, and the worker's takes connections only."""
    mine.redis.client().flushall()
    with ExitStack() as stack:
        hanging = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1_000))
        collectors = {
            "rng": f"http://127.0.0.1:{free_port()}",
            "hasher": stack.enter_context(otlp_receiver(400)).url,
            "worker": f"http://127.0.0.1:{hanging.getsockname()[1]}",
            "webui": stack.enter_context(otlp_receiver(503)).url,
        }
        for name, url in collectors.items():
            mine.start(name, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY=100)
        mine_and_show(mine)
        for name in ("rng", "hasher", "webui"):  # what hangs shows after ten seconds
            mine.running[name].wait_for("error while sending traces.*to=collector")
        mine.mines_on()
        stop(mine)
    assert mine.redis.hashes == mine.running["worker"].units_logged
    for process in mine.running.values():
        assert (
            process.text.count("error while sending traces") <= 2
        )  # the first, and at the end those that were held back
        assert "Traceback" not in process.text
        assert "opentelemetry" not in process.text
