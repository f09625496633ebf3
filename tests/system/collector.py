"""A collector of spans on loopback: OTLP over HTTP, as the services' exporters speak it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Reported:
    """A span as it arrived."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    began: int
    ended: int


@dataclass
class Collector:
    """Takes every span, or throws them away. While it is `away`, it answers 503."""

    port: int = 0
    keep: bool = True
    requests: int = 0
    spans: list[Reported] = field(default_factory=list)
    away: bool = False
    refused: int = 0

    def environment(self) -> dict[str, str]:
        return {
            "DESKBUS_TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def of(self, trace: str) -> list[Reported]:
        return [span for span in list(self.spans) if span.trace == trace]

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            known = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_reported(known["service.name"], span) for span in scope.spans]


def _reported(service: str, span: Any) -> Reported:
    values = {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
    links = tuple(link.trace_id.hex() for link in span.links)
    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
    return Reported(service, span.name, *ids, values, links, span.start_time_unix_nano, span.end_time_unix_nano)


@contextmanager
def collector(*, keep: bool = True) -> Iterator[Collector]:
    made = Collector(keep=keep)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.requests += 1
            if made.away:
                made.refused += 1
            elif made.keep:
                made.take(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(503 if made.away else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
