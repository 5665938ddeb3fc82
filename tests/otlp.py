"""A collector for spans, for tests: a real HTTP server that decodes what OTLP sends (protobuf).

Rule guarded: it knows the protocol and nothing of who sends, so that what it received is what any collector receives.
"""

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_KINDS = {Span.SPAN_KIND_SERVER: "server", Span.SPAN_KIND_CLIENT: "client", Span.SPAN_KIND_INTERNAL: "internal"}


@dataclass(frozen=True, slots=True)
class Received:
    """One span, ids in hex, times in seconds; `links` are the traces and spans it is linked to."""

    name: str
    kind: str
    trace: str
    span: str
    parent: str
    state: str
    start: float
    end: float
    failed: bool
    attributes: Mapping[str, Any]
    links: tuple[tuple[str, str], ...]
    resource: Mapping[str, Any]

    @classmethod
    def of(cls, span: Span, resource: Mapping[str, Any]) -> "Received":
        """Read one span of a request."""
        return cls(
            span.name,
            _KINDS[span.kind],
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.trace_state,
            span.start_time_unix_nano / 1e9,
            span.end_time_unix_nano / 1e9,
            span.status.code == Status.STATUS_CODE_ERROR,
            {each.key: _value(each.value) for each in span.attributes},
            tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
            resource,
        )


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")


class Collector:
    """Spans by a running receiver, which listens at `url` and answers `status`, each time once `delay` is set."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.headers: list[Mapping[str, str]] = []
        self.status = 200
        self.url = ""
        self.delay = threading.Event()
        self.delay.set()

    def named(self, name: str) -> list[Received]:
        """Return the spans with a name."""
        return [span for span in self.spans if span.name == name]

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Keep what one request brought; return the status it is answered with."""
        self.delay.wait()
        assert path == "/v1/traces"
        assert headers["content-type"] == "application/x-protobuf"
        self.headers.append(headers)
        if self.status != 200:
            return self.status
        plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        request = ExportTraceServiceRequest.FromString(plain)
        for group in request.resource_spans:
            resource = {each.key: _value(each.value) for each in group.resource.attributes}
            self.spans += [Received.of(span, resource) for scope in group.scope_spans for span in scope.spans]
        return self.status


@contextmanager
def collecting(host: str = "127.0.0.1") -> Iterator[Collector]:
    """Run a receiver for the duration of the block, at an address of this machine."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = collector.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server calls it by
            """Say nothing."""

    with ThreadingHTTPServer((host, 0), Handler) as server:
        server.daemon_threads = True
        collector.url = f"http://{host}:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        serving.start()
        try:
            yield collector
        finally:
            server.shutdown()
            serving.join()
