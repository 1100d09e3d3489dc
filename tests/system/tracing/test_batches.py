"""The spans of batches, from real processes to a collector."""

import math

import pytest
from support.otlp_receiver import OtlpReceiver, Span
from support.redis_server import RedisServer
from support.service_process import ServiceProcesses
from system.tracing.traced_system import start
from system.worker.test_worker_process import hashes_in, until

RNG = "dockercoins.rng.v1.RngService/StreamRandomBytes"
HASHER = "dockercoins.hasher.v1.HasherService/StreamHashes"
UNANSWERED = "unanswered when the worker stopped"
EARLY = 0.004
"""Seconds: waits end a little before their time (chassis.timer.WAKING_TIME), and two clocks are compared."""


def finished(collector: OtlpReceiver) -> list[Span]:
    """The traces of batches that were counted."""
    return [batch for batch in collector.roots("batch") if batch.error is None]


def whose(span: Span) -> tuple[str, str, str, str]:
    return span.name, span.kind, span.service, span.instance


def assert_inside(outer: Span, inner: Span) -> None:
    assert inner.trace == outer.trace
    assert inner.parent == outer.id
    assert outer.start <= inner.start <= inner.end <= outer.end


@pytest.mark.pair(reason="a tenth of a second is held to two")
@pytest.mark.parametrize("pace", ["classic", "full"])
def test_a_batch_is_a_trace_with_both_steps_on_both_sides(
    pace: str, processes: ServiceProcesses, redis: RedisServer, collector: OtlpReceiver
) -> None:
    """All of the messages are large enough at full pace to go past protobuf."""
    size = {"classic": 1, "full": 16_384}[pace]
    settings = {"PACE": pace, "OTEL_TRACES_SAMPLER_ARG": 1}
    system = start(processes, redis, collector.url, worker={"BATCH_SIZE": size, "WINDOW_SIZE": 2}, everyone=settings)
    until(lambda: hashes_in(redis) >= 10 * size)
    assert system.stop() == [0, 0, 0]
    batches = finished(collector)
    assert len(batches) * size == hashes_in(redis)
    assert {batch.error for batch in collector.roots("batch")} <= {None, UNANSWERED}
    assert collector.paths == {"/v1/traces"}
    assert {span.resource["service.namespace"] for span in collector.spans()} == {"dockercoins"}
    (rng,), (hasher,) = system.rngs, system.hashers
    for batch in batches:
        assert whose(batch) == ("batch", "INTERNAL", "worker", system.worker.instance)
        assert batch.attributes["dockercoins.batch.size"] == size
        assert [whose(step) for step in batch.children] == [
            ("rng", "CLIENT", "worker", system.worker.instance),
            ("hasher", "CLIENT", "worker", system.worker.instance),
        ]
        first, second = batch.children
        assert first.end <= second.start
        for step, server, method in ((first, rng, RNG), (second, hasher, HASHER)):
            assert_inside(batch, step)
            (served,) = step.children
            assert whose(served) == (method, "SERVER", step.name, server.instance)
            assert_inside(step, served)
            assert served.children == []
            service, name = method.split("/")
            assert {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}.items() <= step.attributes.items()
            assert step.attributes["dockercoins.backend"] == server.instance
            assert step.events == [("asked", {"dockercoins.backend": server.instance})]
            if pace == "classic":
                # Two batches are in flight, and a serial rng has the second one wait.
                waited = served.attributes["dockercoins.waited_seconds"]
                assert isinstance(waited, float)
                assert 0.1 - EARLY <= served.seconds - waited < 0.2
        if pace == "classic":
            assert first.start - batch.start >= 0.1 - EARLY
    assert len({batch.trace for batch in batches}) == len(batches)
    assert len({batch.attributes["dockercoins.batch.id"] for batch in batches}) == len(batches)


@pytest.mark.pair(reason="no request may wait 10 ms for the machine")
def test_a_server_says_how_long_a_request_waited_for_its_turn(
    processes: ServiceProcesses, redis: RedisServer, collector: OtlpReceiver
) -> None:
    """Batches that come to a serial rng on several streams: one is served, and the first of another stream waits."""
    system = start(processes, redis, collector.url, worker={"WINDOW_SIZE": 4}, hashers=({"DELAY": 0},))
    until(lambda: hashes_in(redis) >= 12)
    assert system.stop() == [0, 0, 0]
    served = collector.spans(RNG)
    waited = [span.attributes["dockercoins.waited_seconds"] for span in served]
    assert all(0 <= each <= span.seconds for each, span in zip(waited, served, strict=True))
    assert min(waited) < 0.01
    assert 0.05 < max(waited) < 0.5
    # This one serves any number at once.
    assert max(span.attributes["dockercoins.waited_seconds"] for span in collector.spans(HASHER)) < 0.01


@pytest.mark.pair(reason="3,000 batches take much CPU")
def test_about_so_many_batches_are_traced(
    processes: ServiceProcesses, redis: RedisServer, collector: OtlpReceiver
) -> None:
    part = 0.05
    settings = {"PACE": "full", "OTEL_TRACES_SAMPLER_ARG": part}
    system = start(processes, redis, collector.url, worker={"BATCH_SIZE": 256}, everyone=settings)
    until(lambda: hashes_in(redis) >= 256 * 3_000)
    assert system.stop() == [0, 0, 0]
    batches = hashes_in(redis) / 256
    traced = finished(collector)
    # One run in two million is further off.
    assert abs(len(traced) - part * batches) < 5 * math.sqrt(part * (1 - part) * batches)
    for batch in traced:
        assert [len(step.children) for step in batch.children] == [1, 1]
    assert len(collector.spans(RNG)) == len(collector.spans(HASHER)) == len(traced)


@pytest.mark.parametrize(
    "settings",
    [
        {"OTEL_TRACES_SAMPLER_ARG": 0},
        {"OTEL_TRACES_SAMPLER": "always_off"},
        {"OTEL_TRACES_SAMPLER": "parentbased_always_off"},
    ],
    ids=str,
)
def test_nothing_is_traced_when_nothing_is_to_be(
    settings: dict[str, object], processes: ServiceProcesses, redis: RedisServer, collector: OtlpReceiver
) -> None:
    system = start(processes, redis, collector.url, everyone=settings)
    until(lambda: hashes_in(redis) >= 3)
    assert system.stop() == [0, 0, 0]
    assert collector.spans() == []


def test_a_broken_stream_shows_in_the_batches_it_owed(
    processes: ServiceProcesses, redis: RedisServer, collector: OtlpReceiver
) -> None:
    """Whom it asked, that the stream broke, whom it asked then; and the server says what went wrong."""
    system = start(processes, redis, collector.url, hashers=({"FAULT_ERROR_RATE": 0.5},))
    (hasher,) = system.hashers

    def broken() -> list[Span]:
        return [batch for batch in finished(collector) if len(batch.child("hasher").children) > 1]

    collector.wait_for(lambda _: len(broken()) >= 3, limit=30)
    assert system.stop() == [0, 0, 0]
    for batch in broken():
        step = batch.child("hasher")
        backend = {"dockercoins.backend": hasher.instance}
        failures = len(step.children) - 1
        asked_again = [
            ("stream broken", {**backend, "dockercoins.cause": "UNAVAILABLE: a fault that FAULT_ERROR_RATE asks for"}),
            ("asked again", {**backend, "dockercoins.cause": "broken"}),
        ]
        assert step.events == [("asked", backend), *failures * asked_again]
        *failed, answered = step.children
        assert {served.error for served in failed} == {"UNAVAILABLE: a fault that FAULT_ERROR_RATE asks for"}
        assert answered.error is None
        assert step.error is None


def test_a_late_batch_shows_both_backends_asked(
    processes: ServiceProcesses, redis: RedisServer, collector: OtlpReceiver
) -> None:
    system = start(
        processes,
        redis,
        collector.url,
        hashers=({}, {"FAULT_HANG_RATE": 0.02}),
        worker={"BATCH_SIZE": 16_384, "WINDOW_SIZE": 4},
        everyone={"PACE": "full", "OTEL_TRACES_SAMPLER_ARG": 1},
    )
    quick, slow = (hasher.instance for hasher in system.hashers)

    def late() -> list[Span]:
        return [
            batch.child("hasher")
            for batch in finished(collector)
            if batch.child("hasher").events[0] == ("asked", {"dockercoins.backend": slow})
            and len(batch.child("hasher").events) == 2
        ]

    collector.wait_for(lambda _: late(), limit=30)
    system.stop()
    for step in late():
        assert step.events[1] == ("asked again", {"dockercoins.backend": quick, "dockercoins.cause": "late"})
        assert step.attributes["dockercoins.backend"] == quick
        assert step.seconds >= 0.5
        assert quick in {served.instance for served in step.children if served.error is None}
    # Those behind a request that hangs on the same stream were not even begun, and the worker gave all of them up.
    hung = [served for step in late() for served in step.children if served.instance == slow]
    assert hung
    assert {served.error for served in hung} == {"CANCELLED"}


def test_a_batch_that_was_never_answered_ends_with_an_error(
    processes: ServiceProcesses, redis: RedisServer, collector: OtlpReceiver
) -> None:
    system = start(processes, redis, collector.url, hashers=({"FAULT_HANG_RATE": 1},))
    collector.wait_for(lambda spans: any(span.name == RNG for span in spans))
    system.stop()
    (batch,) = collector.roots("batch")
    assert batch.error == UNANSWERED
    assert batch.child("rng").error is None
    step = batch.child("hasher")
    assert step.error == UNANSWERED
    (hung,) = step.children
    assert hung.error == "CANCELLED"
