"""The gRPC server of all services: with limits, health, metrics, an access log, TLS and a bounded stop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import Gauge

from chassis import grpc_options, listener, log
from chassis.grpc_server.access_log import Describe
from chassis.grpc_server.allow_list import Callers
from chassis.grpc_server.interceptor import ServiceInterceptor
from chassis.grpc_server.introspection import Introspection
from chassis.grpc_server.limits import MAX_CONCURRENT_REQUESTS
from chassis.grpc_server.self_test import keep_testing
from chassis.grpc_server.settings import GrpcServerSettings
from chassis.health import Health
from chassis.large_fields import keep_freed_memory
from chassis.telemetry import Telemetry
from chassis.telemetry.rpc_metrics import RpcMetrics
from chassis.tls import RenewedCertificates, server_credentials

# The maximum of concurrent calls, including calls without a request yet. Each uses 22 KiB; 200 classic workers on one
# serial rng make 1,000 calls.
MAX_CALLS = 4_096

# The time in which open streams must end after the server reports NOT_SERVING. A worker half-closes its streams at
# once, so they end as soon as nothing is outstanding, and stopping takes no longer.
DRAIN_LIMIT_S = 2.5

# How often it is checked, at most, whether the methods that are cancelled after that have ended.
MAX_CHECKS = 100
CHECK_INTERVAL_S = 0.005

# The time within DRAIN_LIMIT_S in which new streams are accepted: a client may have opened one just before it received
# NOT_SERVING, and it would end with CANCELLED.
ACCEPT_TIME_S = 0.05

FLUSH_INTERVAL_S = 1.0


@contextlib.asynccontextmanager
async def serve(  # noqa: PLR0913 - what makes a server of a service
    settings: GrpcServerSettings,
    telemetry: Telemetry,
    service: str,
    add_servicer: Callable[[grpc.aio.Server], None],
    self_test: Callable[[], Awaitable[bool]],
    *,
    describe: Describe,
    callers: Callers,
) -> AsyncIterator[int]:
    """Start a server, yield its port, and drain it.

    Health under the empty name reports that the process is alive, under the service's full name whether it is ready,
    which requires a passing self-test. With certificates in the settings, clients must present one that may call the
    method. `describe` is for the access log. A background task that fails ends the context with an ExceptionGroup.
    Raises ListenError when the port can't be listened on, CertificateError when the certificates can't be used.
    """
    certificates = None
    if settings.tls is not None:
        certificates = RenewedCertificates(settings.tls)
        log.get().info("mutual TLS", certificate=str(settings.tls.cert), authority=str(settings.tls.ca))
    keep_freed_memory()
    interceptor = ServiceInterceptor(service, settings, telemetry, describe, None if certificates is None else callers)
    server = grpc.aio.server(
        interceptors=[interceptor],
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
        f"Requests that wait for a slot: CONCURRENCY, with DELAY=0 at most {MAX_CONCURRENT_REQUESTS}",
        registry=telemetry.metrics,
    )
    waiting.set_function(lambda: interceptor.limiter.waiting)

    async with contextlib.AsyncExitStack() as stack:
        # gRPC needs the credentials as long as the server exists.
        credentials = None
        if certificates is not None:
            credentials = server_credentials(certificates)
        port = await _start(server, settings, credentials)
        background = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [
            background.create_task(_report_health(telemetry.health, statuses, service)),
            background.create_task(keep_testing(telemetry.health, self_test)),
            background.create_task(_flush(interceptor)),
        ]
        if certificates is not None:
            tasks.append(background.create_task(certificates.keep_checking()))
        try:
            yield port
        finally:
            for task in tasks:
                task.cancel()
            await _drain(server, statuses, service, interceptor.metrics)
            interceptor.close()


async def _start(
    server: grpc.aio.Server, settings: GrpcServerSettings, credentials: grpc.ServerCredentials | None
) -> int:
    """Listen, and return the port. Raises ListenError."""
    # gRPC does not report why listening failed, so try it with a socket first.
    with listener.listen("PORT", settings.bind_address, settings.port, settings.variable("bind_address")) as probe:
        port: int = probe.getsockname()[1]
    address = listener.host_port(settings.bind_address, port)
    if credentials is None:
        server.add_insecure_port(address)
    else:
        server.add_secure_port(address, credentials)
    await server.start()
    log.get().info("listening", address=address)
    return port


async def _drain(
    server: grpc.aio.Server, statuses: grpc_health.aio.HealthServicer, service: str, metrics: RpcMetrics
) -> None:
    """Report NOT_SERVING, let open streams end, and stop. Streams that are open after DRAIN_LIMIT_S are cancelled."""
    await statuses.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    await asyncio.sleep(ACCEPT_TIME_S)
    await server.stop(DRAIN_LIMIT_S - ACCEPT_TIME_S)
    # gRPC may return before the methods that it has cancelled have ended (grpcio 1.85), and their ends are logged.
    for _ in range(MAX_CHECKS):
        if not metrics.open_calls:
            return
        await asyncio.sleep(CHECK_INTERVAL_S)


async def _flush(interceptor: ServiceInterceptor) -> None:
    while True:
        await asyncio.sleep(FLUSH_INTERVAL_S)
        interceptor.flush()


async def _report_health(health: Health, statuses: grpc_health.aio.HealthServicer, service: str) -> None:
    while True:
        changed = health.changed
        ready = health.ready
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        await statuses.set(service, status)
        await changed.wait()
