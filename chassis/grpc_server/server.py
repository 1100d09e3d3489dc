"""A gRPC server as every service here runs it: with limits, health, metrics, an access log, TLS and a bounded stop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import Gauge

from chassis import grpc_options, listener, log
from chassis.grpc_server.allow_list import NOBODY, AllowList, Callers
from chassis.grpc_server.interceptors import (
    AccessLog,
    CallLog,
    Decoding,
    FaultInjection,
    LimitInterceptor,
    TracingInterceptor,
)
from chassis.grpc_server.introspection import Introspection
from chassis.grpc_server.self_test import keep_testing
from chassis.grpc_server.settings import GrpcServerSettings
from chassis.health import Health
from chassis.large_fields import keep_freed_memory
from chassis.telemetry import Telemetry
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.tls import RenewedCertificates, handshake_log, server_credentials

# Calls at the same time, those included whose request has not arrived; each keeps some 22 KiB. Two hundred classic
# workers at one serial rng have a thousand.
MAX_CALLS = 4_096

# How long open streams have to end after the server reports NOT_SERVING. A worker half-closes its streams at once, so
# they end as soon as nothing is outstanding, and stopping takes no longer.
DRAIN_LIMIT_S = 2.5

# In this part of it new streams are still served: a client opens none once it has received the status, and one that it
# opened just before would end with CANCELLED.
LEAVING_TIME_S = 0.05

FLUSH_INTERVAL_S = 1.0


@contextlib.asynccontextmanager
async def serve(  # noqa: PLR0913 - what makes a server of a service
    settings: GrpcServerSettings,
    telemetry: Telemetry,
    service: str,
    add_servicer: Callable[[grpc.aio.Server], None],
    self_test: Callable[[], Awaitable[bool]],
    *,
    callers: Callers = NOBODY,
) -> AsyncIterator[int]:
    """Start a server, yield its port, and drain it.

    Health under the empty name says that the process is alive, under the service's full name whether it is ready, which
    takes a self-test that passes. Where settings name certificates, clients must show one that may call the method.
    Raises ListenError when the port can't be listened on, CertificateError when the certificates can't be used.
    """
    certificates = None
    if settings.tls is not None:
        certificates = RenewedCertificates(settings.tls)
        log.get().info("mutual TLS", certificate=str(settings.tls.cert), authority=str(settings.tls.ca))
    keep_freed_memory()
    call_log = CallLog()
    metrics = RpcMetrics("server")
    telemetry.metrics.register(metrics)
    limits = LimitInterceptor(service, settings.delay, settings.concurrency)
    interceptors: list[grpc.aio.ServerInterceptor] = [AccessLog(service, metrics, call_log), Decoding(call_log)]
    if certificates is not None:
        interceptors.insert(0, AllowList(service, callers, call_log))
    if telemetry.tracing is not None:
        interceptors.append(TracingInterceptor(service, telemetry.tracing))
    if settings.faulty:
        interceptors.append(FaultInjection(service, settings))
    server = grpc.aio.server(
        interceptors=[*interceptors, limits],
        options=(*grpc_options.SERVER, ("grpc.max_receive_message_length", settings.largest_request)),
        maximum_concurrent_rpcs=MAX_CALLS,
    )
    add_servicer(server)
    statuses = grpc_health.aio.HealthServicer()
    await statuses.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    server.add_generic_rpc_handlers((Introspection(service, grpc_health.SERVICE_NAME),))
    waiting = Gauge(
        f"dockercoins_{settings.service}_waiting_requests",
        "Requests that wait for a slot (CONCURRENCY)",
        registry=telemetry.metrics,
    )
    waiting.set_function(lambda: limits.waiting)

    async with contextlib.AsyncExitStack() as stack:
        # gRPC needs the credentials as long as the server lives.
        credentials = None
        if certificates is not None:
            await stack.enter_async_context(handshake_log("warning"))
            credentials = server_credentials(certificates)
        port = await _start(server, settings, credentials)
        tasks = [
            asyncio.create_task(_report_health(telemetry.health, statuses, service)),
            asyncio.create_task(keep_testing(telemetry.health, self_test)),
            asyncio.create_task(_flush(call_log)),
        ]
        if certificates is not None:
            tasks.append(asyncio.create_task(certificates.keep_checking()))
        try:
            yield port
        finally:
            for task in tasks:
                task.cancel()
            await statuses.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
            await asyncio.sleep(LEAVING_TIME_S)
            await server.stop(DRAIN_LIMIT_S - LEAVING_TIME_S)
            call_log.close()


async def _start(
    server: grpc.aio.Server, settings: GrpcServerSettings, credentials: grpc.ServerCredentials | None
) -> int:
    """Listen, and return the port. Raises ListenError."""
    # gRPC does not say why it can't listen.
    with listener.listen("PORT", settings.bind_address, settings.port, settings.variable("bind_address")) as probe:
        port: int = probe.getsockname()[1]
    host = f"[{settings.bind_address}]" if ":" in settings.bind_address else settings.bind_address
    if credentials is None:
        server.add_insecure_port(f"{host}:{port}")
    else:
        server.add_secure_port(f"{host}:{port}", credentials)
    await server.start()
    log.get().info("listening", address=f"{host}:{port}")
    return port


async def _flush(call_log: CallLog) -> None:
    while True:
        await asyncio.sleep(FLUSH_INTERVAL_S)
        call_log.flush()


async def _report_health(health: Health, statuses: grpc_health.aio.HealthServicer, service: str) -> None:
    while True:
        changed = health.changed
        ready = health.ready
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        await statuses.set(service, status)
        await changed.wait()
