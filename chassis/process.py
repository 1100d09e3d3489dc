"""The life of a process: settings, log, health, start, ready, drain, close.

The order of stopping, and why:

1. not ready: load balancers send no new work here;
2. no new work, drain, last report, close: the service's own context ends, innermost first;
3. the admin endpoint closes, so late that a probe sees "not ready" and not a refused connection;
4. the last spans are sent, in what is left of the time: they may be about any of the steps before.

TERM and INT do the same. All of it is bounded by `stop_limit` of the settings, and a second signal ends the process at
once. What does not end even when it is cancelled, such as a DNS query without a response, ends with the process shortly
after.
"""

import asyncio
import contextlib
import faulthandler
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from chassis import admin_endpoint, grpc_log, log
from chassis.health import Health
from chassis.listener import ListenError
from chassis.log import LogOutput, ThrottledLogger
from chassis.settings import LogFormat, LogLevel, ServiceSettings, SettingsError, misspelled
from chassis.telemetry import Telemetry
from chassis.telemetry.metrics import EventLoopLag, register_process_metrics

if TYPE_CHECKING:
    from chassis.telemetry.tracing import Tracing

# Flushing spans ends this long before the stop limit.
MARGIN_S = 0.1

# How much later the process exits whatever is still running.
EXIT_DELAY_S = 0.1

# Variables of gRPC that change how it works and may be left over in an environment.
_GRPC_VARIABLES = ("GRPC_EXPERIMENTS", "GRPC_DNS_RESOLVER")

EXIT_FAILURE = 1
EXIT_SETTINGS = 2

Settings = TypeVar("Settings", bound=ServiceSettings)

# A context that has started when it is entered; leaving it drains and closes.
Service = Callable[[Settings, Telemetry], AbstractAsyncContextManager[None]]


class ServiceFailed(Exception):  # noqa: N818 - the end of a service, not an error of a call
    """The service ends unsuccessfully for a reason that it has already logged."""


class _Logs(NamedTuple):
    output: LogOutput
    out_of_files: ThrottledLogger


def run(name: str, settings_class: type[Settings], service: Service[Settings], *conditions: str) -> int:
    """Run a service until a signal stops it, and return the process's exit code.

    The code is 0 after a stop, 1 when the service failed or could not start, and 2 when a setting is not allowed.
    The service is ready once its health meets these conditions.
    """
    _open_closed_descriptors()
    try:
        settings = settings_class.load()
    except SettingsError as error:
        return refuse(name, error)
    output = log.configure(settings.log_level, settings.log_format, service=name, instance=settings.instance)
    log.install_hooks()
    faulthandler.enable(os.dup(grpc_log.STANDARD_ERROR))
    with grpc_log.capture(settings.log_format, ends_process=True) as out_of_files:
        code = _run(name, settings, service, Health(*conditions), _Logs(output, out_of_files))
    if code == 0:
        log.get().info("stopped")
    return code


def refuse(name: str, error: object) -> int:
    """Report a setting that is not allowed in one line, and return the exit code."""
    shared = os.environ.get("LOG_FORMAT", "")
    if os.environ.get(f"{name.upper()}_LOG_FORMAT", shared).lower() == LogFormat.JSON:
        instance = os.environ.get("INSTANCE") or socket.gethostname()
        log.configure(LogLevel.ERROR, LogFormat.JSON, service=name, instance=instance)
        log.get().error("can't start", cause=str(error))
    else:
        output = LogOutput(grpc_log.STANDARD_ERROR)
        output.write(f"{name}: {error}\n")
        output.close(log.CLOSE_LIMIT_S)
    return EXIT_SETTINGS


def _open_closed_descriptors() -> None:
    """Open the standard descriptors that are closed, so that no socket or file becomes one of them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which returns the lowest free descriptor


def _run(name: str, settings: Settings, service: Service[Settings], health: Health, logs: _Logs) -> int:
    logger = log.get()
    for name_set, meant in misspelled(os.environ, settings.variables()).items():
        logger.warning("unknown variable", variable=name_set, meant=meant)
    if found := [f"{name_set}={os.environ[name_set]}" for name_set in _GRPC_VARIABLES if os.environ.get(name_set)]:
        logger.info("gRPC is configured by the environment", variables=" ".join(found))
    try:
        asyncio.run(_live(name, settings, service, health, logs))
    except SettingsError as error:
        return refuse(name, error)
    except ListenError as error:
        logger.error("can't start", cause=str(error))
        return EXIT_FAILURE
    except ServiceFailed:
        return EXIT_FAILURE
    except Exception:
        logger.exception("failed")
        return EXIT_FAILURE
    return 0


async def _live(name: str, settings: Settings, service: Service[Settings], health: Health, logs: _Logs) -> None:
    asyncio.get_running_loop().set_exception_handler(partial(log.handle_loop_exception, logs.out_of_files))
    stop_requested = _watch_signals(settings.stop_limit + EXIT_DELAY_S)
    try:
        async with asyncio.timeout(None) as limit, _tracing(name, settings, limit) as tracing:
            telemetry = Telemetry(health, tracing=tracing)
            async with observed(settings, telemetry, logs.output), service(settings, telemetry):
                health.started()
                log.get().info("started", pace=settings.pace.value)
                await stop_requested.wait()
                log.get().info("stopping")
                health.drain()
                limit.reschedule(asyncio.get_running_loop().time() + settings.stop_limit)
    except TimeoutError:
        if not limit.expired():
            raise
        log.get().error("did not drain in time", seconds=settings.stop_limit)
        raise ServiceFailed from None


def _watch_signals(exit_after_s: float) -> asyncio.Event:
    """Return an event that the first signal sets; the second one ends the process, as does the end of the time."""
    stop_requested = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop_requested.is_set():
            os._exit(128 + number)
        stop_requested.set()
        timer = threading.Timer(exit_after_s, os._exit, (EXIT_FAILURE,))
        timer.daemon = True
        timer.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop_requested


@contextlib.asynccontextmanager
async def _tracing(name: str, settings: ServiceSettings, limit: asyncio.Timeout) -> "AsyncIterator[Tracing | None]":
    if not settings.collector_url:
        yield None
        return
    from chassis.telemetry.tracing import open_tracing  # noqa: PLC0415 - it imports OpenTelemetry

    def seconds_left() -> float:
        end = limit.when()
        return float("inf") if end is None else end - MARGIN_S - asyncio.get_running_loop().time()

    async with open_tracing(name, settings, seconds_left) as tracing:
        yield tracing


@contextlib.asynccontextmanager
async def observed(settings: ServiceSettings, telemetry: Telemetry, output: LogOutput) -> AsyncIterator[None]:
    """Serve health and metrics, among them those that every process has."""
    register_process_metrics(telemetry.metrics, telemetry.health)
    lag = EventLoopLag()
    telemetry.metrics.register(lag)
    telemetry.metrics.register(output)
    measuring = asyncio.create_task(lag.run())
    try:
        async with admin_endpoint.serve(settings, telemetry):
            yield
    finally:
        measuring.cancel()
