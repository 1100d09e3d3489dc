"""A collector of traces in the test's own process, over OTLP/HTTP as real ones."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

Attributes = dict[str, Any]


class Span:
    """A span with its resource. A root has an empty parent; times are Unix seconds."""

    def __init__(self, span: trace_pb2.Span, resource: Attributes) -> None:
        self.name = span.name
        self.kind = trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
        self.trace = span.trace_id.hex()
        self.id = span.span_id.hex()
        self.parent = span.parent_span_id.hex()
        self.has_remote_parent = bool(span.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
        self.start = span.start_time_unix_nano / 1e9
        self.end = span.end_time_unix_nano / 1e9
        self.seconds = self.end - self.start
        self.error = span.status.message if span.status.code == trace_pb2.Status.STATUS_CODE_ERROR else None
        self.attributes = _attributes(span.attributes)
        self.events = [(event.name, _attributes(event.attributes)) for event in span.events]
        self.resource = resource
        self.service = str(resource["service.name"])
        self.instance = str(resource["service.instance.id"])
        self.children: list[Span] = []

    def child(self, name: str) -> "Span":
        """The one child of that name."""
        (found,) = [child for child in self.children if child.name == name]
        return found


class OtlpReceiver:
    """Keeps what is sent to it, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.paths: set[str] = set()
        self._spans: list[Span] = []

    def add(self, path: str, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        self.paths.add(path)
        self._spans += [
            Span(span, _attributes(of_resource.resource.attributes))
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    def spans(self, name: str = "") -> list[Span]:
        """Return what was received so far, perhaps of one name."""
        return [span for span in self._spans if name in {"", span.name}]

    def roots(self, name: str) -> list[Span]:
        """Return the roots of a name, with all their children in the order in which they began."""
        by_parent: dict[tuple[str, str], list[Span]] = defaultdict(list)
        spans = self.spans()
        for span in spans:
            by_parent[span.trace, span.parent].append(span)
        for span in spans:
            span.children = sorted(by_parent[span.trace, span.id], key=lambda child: child.start)
        return [span for span in spans if span.name == name and not span.parent]


@contextmanager
def otlp_receiver(status: int = 200) -> Iterator[OtlpReceiver]:
    """A receiver on a free port of loopback, which refuses all with any other status."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if status == 200:
                receiver.add(self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = OtlpReceiver(f"http://127.0.0.1:{server.server_port}")
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            serving.join()


def _attributes(pairs: Any) -> Attributes:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}
