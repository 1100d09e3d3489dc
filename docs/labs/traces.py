"""Receives traces over OTLP/HTTP, and prints those of batches that took at least so many seconds.

python docs/labs/traces.py SECONDS
"""

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

# Each service sends its spans by itself, so a trace is complete some seconds after its first span.
COMPLETE_AFTER_S = 6.0

least_s = float(sys.argv[1])
# By trace id: when its first span came, and the spans so far by their parent, with their processes.
traces: dict[bytes, tuple[float, dict[bytes, list[tuple[Span, str]]]]] = {}


def lines(children: dict[bytes, list[tuple[Span, str]]], parent: bytes, indent: str) -> Iterator[str]:
    """Yield a line for each child of a span, and those of its children, in the order in which they began."""
    for span, process in sorted(children[parent], key=lambda child: child[0].start_time_unix_nano):
        line = f"{indent}{span.name.rpartition('/')[2]}: {_seconds(span):.3f} s in {process}"
        for attribute in span.attributes:
            if attribute.key == "dockercoins.waited_seconds":
                line += f", of which {attribute.value.double_value:.3f} s waited"
        yield line
        yield from lines(children, span.span_id, indent + "  ")


def _seconds(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


class Receiver(BaseHTTPRequestHandler):
    """Takes what an exporter sends, and prints the traces that are complete."""

    def do_POST(self) -> None:
        """Keep the spans of a request."""
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        now = time.monotonic()
        for process in request.resource_spans:
            attributes = {attribute.key: attribute.value.string_value for attribute in process.resource.attributes}
            for span in (span for scope in process.scope_spans for span in scope.spans):
                _, children = traces.setdefault(span.trace_id, (now, defaultdict(list)))
                children[span.parent_span_id].append((span, attributes["service.instance.id"]))
        for trace in [trace for trace, (began, _) in traces.items() if now - began > COMPLETE_AFTER_S]:
            _, children = traces.pop(trace)
            if any(span.name == "batch" and _seconds(span) >= least_s for span, _ in children[b""]):
                print("\n".join(lines(children, b"", "")), flush=True)

    def log_message(self, *_: object) -> None:
        """Print nothing of requests."""


with suppress(KeyboardInterrupt):
    HTTPServer(("127.0.0.1", 4318), Receiver).serve_forever()
