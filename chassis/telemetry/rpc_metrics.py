"""The metrics of a gRPC server or client, under the names of go-grpc-prometheus.

Methods are known beforehand and codes are seventeen, so clients can't add series.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Literal

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis.telemetry.metrics import LatencyHistogram

_LABELS = ("grpc_type", "grpc_service", "grpc_method")


class MethodCounts:
    """The calls of one method since the start, and their messages. A stream is one call."""

    __slots__ = ("handled", "handling", "received", "sent", "started")

    def __init__(self) -> None:
        self.started = 0
        # Calls that ended, by the name of their code; a rate of failures needs OK from the start.
        self.handled: Counter[str] = Counter(OK=0)
        self.handling = LatencyHistogram()
        self.received = 0
        self.sent = 0

    def ended(self, code: str, seconds: float) -> None:
        """Count a call that has ended after this number of seconds."""
        self.handled[code] += 1
        self.handling.observe(seconds)


class RpcMetrics(Collector):
    """The methods of a process's servers, or of its clients."""

    def __init__(self, side: Literal["server", "client"]) -> None:
        self._side = side
        self._methods: dict[tuple[str, str, str], MethodCounts] = {}

    def method(self, kind: Literal["unary", "bidi_stream"], path: str) -> MethodCounts:
        """Return the counts of the method /SERVICE/METHOD, which are collected from now on."""
        _, service, name = path.split("/")
        return self._methods.setdefault((kind, service, name), MethodCounts())

    @property
    def open_calls(self) -> int:
        """The number of calls that have started and not ended."""
        return sum(counts.started - counts.handled.total() for counts in self._methods.values())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        done = "completed on the server" if self._side == "server" else "completed by the client"
        started = self._counter("started", "RPCs started; a stream is one")
        received = self._counter("msg_received", "Messages received; on a stream, each")
        sent = self._counter("msg_sent", "Messages sent; on a stream, each")
        handled = self._counter("handled", f"RPCs {done}, by code", "grpc_code")
        handling = HistogramMetricFamily(
            f"grpc_{self._side}_handling_seconds", f"Seconds from start to end of RPCs {done}", labels=_LABELS
        )
        for labels, counts in self._methods.items():
            started.add_metric(labels, counts.started)
            received.add_metric(labels, counts.received)
            sent.add_metric(labels, counts.sent)
            for code, calls in counts.handled.items():
                handled.add_metric((*labels, code), calls)
            handling.add_metric(labels, list(counts.handling.cumulative()), counts.handling.seconds)
        yield from (started, received, sent, handled, handling)

    def _counter(self, name: str, documentation: str, *more_labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"grpc_{self._side}_{name}", documentation, labels=(*_LABELS, *more_labels))
