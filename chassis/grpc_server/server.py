"""A gRPC server as every service here runs it: health, reflection, channelz, metrics, access lines, a bounded stop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis import grpc_options, listener, log
from chassis.grpc_options import SERVED_BY
from chassis.grpc_server import self_test
from chassis.grpc_server.admission import MAX_CALLS_ACCEPTED, Admission
from chassis.grpc_server.allow_list import NOBODY, Callers
from chassis.grpc_server.call_watch import CallWatch
from chassis.grpc_server.connections import Connections
from chassis.grpc_server.eviction import Eviction
from chassis.grpc_server.fault_injection import FaultInjection
from chassis.grpc_server.introspection import Introspection
from chassis.grpc_server.request_decoding import RequestDecoding
from chassis.grpc_server.request_trace import RequestTrace
from chassis.grpc_server.server_tls import ServerTls, server_tls
from chassis.grpc_server.settings import GrpcServerSettings
from chassis.health import Health
from chassis.telemetry import Telemetry
from chassis.telemetry.rpc_metrics import RpcMetrics

DRAIN_LIMIT = 2.5
"""Seconds that open streams have to end after the server says it is not serving. A worker half-closes its streams at
once, so they end as soon as nothing is outstanding; stopping takes no longer than that."""

LEAVING_TIME = 0.05
"""Seconds of these in which new streams are still served: a client opens none any more as soon as it has heard, and one
that it opened just before would end with CANCELLED."""

FLUSH_INTERVAL = 1.0
"""Seconds between looks at what there is to say of many calls in one line."""


@contextlib.asynccontextmanager
async def serve(  # noqa: PLR0913 - what makes a server of a service
    settings: GrpcServerSettings,
    telemetry: Telemetry,
    service: str,
    add_servicer: Callable[[grpc.aio.Server], None],
    check: Callable[[], Awaitable[bool]],
    *,
    callers: Callers = NOBODY,
) -> AsyncIterator[int]:
    """A server that has started, and its port; leaving it drains.

    Health under the empty name says that the process is alive, under the service's full name whether it is ready: as
    long as its check of itself passes. Where settings name certificates, callers must show one, and be allowed to call
    what they call of the service.
    Raises ListenError when the port can't be listened on.
    """
    async with (
        server_tls(settings.tls, service, callers) as tls,
        _serve(settings, telemetry, service, add_servicer, check, tls=tls) as port,
    ):
        yield port


@contextlib.asynccontextmanager
async def _serve(  # noqa: PLR0913 - as serve(), with what is made of its last
    settings: GrpcServerSettings,
    telemetry: Telemetry,
    service: str,
    add_servicer: Callable[[grpc.aio.Server], None],
    check: Callable[[], Awaitable[bool]],
    *,
    tls: ServerTls | None,
) -> AsyncIterator[int]:
    with listener.listen("PORT", settings.bind_address, settings.port, settings.variable("bind_address")) as probe:
        port: int = probe.getsockname()[1]
    metrics = RpcMetrics("server")
    telemetry.metrics.register(metrics)
    admission = Admission(service)
    watch, decoding = CallWatch(service, metrics, admission.admit), RequestDecoding()
    interceptors = (
        admission,
        *(() if tls is None else (tls.allow_list,)),
        watch,
        decoding,
        *_traces(telemetry, service),
        *_faults(settings, service),
    )
    options = (*grpc_options.SERVER, ("grpc.max_receive_message_length", settings.largest_request))
    server = grpc.aio.server(interceptors=interceptors, options=options, maximum_concurrent_rpcs=MAX_CALLS_ACCEPTED)
    eviction = Eviction(admission, Connections(port))
    telemetry.metrics.register(eviction)
    add_servicer(server)
    statuses = grpc_health.aio.HealthServicer()
    await statuses.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    server.add_generic_rpc_handlers((Introspection(service, grpc_health.SERVICE_NAME),))
    host = f"[{settings.bind_address}]" if ":" in settings.bind_address else settings.bind_address
    if tls is None:
        server.add_insecure_port(f"{host}:{port}")
    else:
        tls.add_port(server, f"{host}:{port}")
    await server.start()
    log.get().info("listening", address=f"{host}:{port}")
    tasks = [
        asyncio.create_task(_mirror(telemetry.health, statuses, service)),
        asyncio.create_task(self_test.keep_testing(telemetry.health, check)),
        asyncio.create_task(_flush(watch, decoding)),
        asyncio.create_task(eviction.look_at_memory()),
        asyncio.create_task(eviction.look_at_crowd()),
    ]
    try:
        yield port
    finally:
        for task in tasks:
            task.cancel()
        await statuses.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
        await asyncio.sleep(LEAVING_TIME)
        await server.stop(DRAIN_LIMIT - LEAVING_TIME)
        for each in (watch, decoding, eviction):
            each.close()


def _traces(telemetry: Telemetry, service: str) -> tuple[grpc.aio.ServerInterceptor, ...]:
    return () if telemetry.tracing is None else (RequestTrace(service, telemetry.tracing),)


def _faults(settings: GrpcServerSettings, service: str) -> tuple[grpc.aio.ServerInterceptor, ...]:
    if not settings.faulty:
        return ()
    faults = {
        "error_rate": settings.fault_error_rate,
        "hang_rate": settings.fault_hang_rate,
        "slow": settings.fault_slow,
    }
    log.get().warning("faults on purpose", **faults)
    return (FaultInjection(service, **faults),)


async def _flush(watch: CallWatch, decoding: RequestDecoding) -> None:
    while True:
        await asyncio.sleep(FLUSH_INTERVAL)
        watch.flush()
        decoding.flush()


async def _mirror(health: Health, statuses: grpc_health.aio.HealthServicer, service: str) -> None:
    while True:
        changed = health.changed
        ready = health.ready
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        await statuses.set(service, status)
        await changed.wait()


async def name_server(context: "grpc.aio.ServicerContext[object, object]", instance: str) -> None:
    """Tell a stream's client who serves it, before the first answer."""
    await context.send_initial_metadata(((SERVED_BY, instance),))
