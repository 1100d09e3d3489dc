"""Spans to a collector, over OTLP/HTTP, in a thread of the SDK's. OpenTelemetry is imported with this, and not before.

What is not sent waits in the SDK's bounded queue (OTEL_BSP_MAX_QUEUE_SIZE: 2,048 spans, some 4 MB), and the oldest are
lost when that is full: a collector that is away costs spans and nothing else.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from functools import cached_property
from typing import Any, cast

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Attributes, OTELResourceDetector, Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from chassis import log
from chassis.log import ThrottledLogger
from chassis.settings import ServiceSettings, SettingsError
from chassis.telemetry.sampling import Sampling
from chassis.telemetry.tracing import Tracing

FLUSH_LIMIT = 0.5
"""Seconds that a stopping process gives the collector to take the last spans."""

TROUBLE_EVERY = 60.0
"""Seconds between two lines about a collector that takes nothing: the SDK itself has four of them in ten seconds."""


class _Troubles(logging.Handler):
    """Says what troubles the SDK has, as one line now and then."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._log = ThrottledLogger("trouble with traces", interval_s=TROUBLE_EVERY, to="collector")

    def emit(self, record: logging.LogRecord) -> None:
        """Note it; the SDK's thread and the event loop's both come here, one at a time."""
        self._log.log(cause=record.getMessage())

    async def keep_flushing(self) -> None:
        """Log what has been held back for long enough, again and again."""
        while True:
            await asyncio.sleep(TROUBLE_EVERY)
            self._log.flush()

    def close(self) -> None:
        """Log what is held back."""
        self._log.close()
        super().close()


@contextlib.asynccontextmanager
async def exported(
    service: str, settings: ServiceSettings, seconds_left: Callable[[], float]
) -> AsyncIterator[Tracing]:
    """Tracing whose spans go where the settings say; leaving it sends the last ones, in the seconds left at most.

    Raises SettingsError when one of the variables that only the SDK reads holds what it does not allow.
    """
    troubles = _hear_troubles()
    if settings.otel_sdk_disabled != "false":
        log.get().warning("OTEL_SDK_DISABLED is neither true nor false, so there are traces")
    try:
        exporter = OTLPSpanExporter(settings.collector_url)
        processor = BatchSpanProcessor(exporter)
        sampling = Sampling(settings.otel_traces_sampler, settings.otel_traces_sampler_arg)
        tracing = Tracing(sampling, _resource(service, settings.instance), processor)
    except ValueError as error:
        raise SettingsError(f"a variable OTEL_… is not allowed: {error}") from None
    flushing = asyncio.create_task(troubles.keep_flushing())
    try:
        yield tracing
    finally:
        flushing.cancel()
        await _within(min(FLUSH_LIMIT, seconds_left()), processor.shutdown)
        troubles.close()


def _hear_troubles() -> _Troubles:
    troubles = _Troubles()
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.addHandler(troubles)
    return troubles


class _HashedOnce(Resource):
    """The SDK hashes a span's resource to encode the span, by way of JSON, which is a quarter of all that it does."""

    @cached_property
    def _hash(self) -> int:
        return super().__hash__()

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)


def _resource(service: str, instance: str) -> Resource:
    """Who tells all this; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word."""
    ours = {"service.name": service, "service.namespace": "dockercoins", "service.instance.id": instance}
    told = cast("Attributes", dict(OTELResourceDetector().detect().attributes or {}))
    attributes = Resource.create({**ours, **told}).attributes
    # Bytes in the environment that are no UTF-8 would fail whenever spans are encoded.
    return _HashedOnce({_utf8(name): _utf8(value) for name, value in attributes.items()})


def _utf8(value: Any) -> Any:
    return value.encode(errors="surrogateescape").decode(errors="replace") if isinstance(value, str) else value


async def _within(seconds: float, work: Callable[[], object]) -> None:
    """Wait so long for work that nothing can cut short; it ends with the process then."""
    if seconds <= 0:
        return
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        work()
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, daemon=True).start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await done.wait()
