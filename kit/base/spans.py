"""OpenTelemetry behind `tracing.py`, which imports this module only when tracing is turned on.

Rule: nothing here waits for a collector or raises because of one. Spans wait in a bounded queue of the SDK, and are
dropped when it is full. The provider is not made global, so that no library adds spans or attributes of its own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import datetime
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from kit.base.tracing import Attributes, Kind, Span

#: Characters of an attribute: ids are bounded, but this holds whatever a caller names.
_MOST = 200
_AT_HAND: ContextVar[Recorded | None] = ContextVar("span", default=None)


class Recorded(Span):
    """A span of OpenTelemetry; it may be one that is not sampled."""

    def __init__(self, inner: trace.Span, *, continues: bool) -> None:
        self.inner, self.continues = inner, continues
        self._token: Token[Recorded | None] | None = None
        context = inner.get_span_context()
        self.context = context
        if context.is_valid:  # it is not where OTEL_SDK_DISABLED says so
            self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def __enter__(self) -> Self:
        self._token = _AT_HAND.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: object) -> None:
        if self._token is not None:
            _AT_HAND.reset(self._token)
        if kind is not None:
            self.fail(kind.__name__)
        self.end()

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        token = _AT_HAND.set(self)
        try:
            yield
        finally:
            _AT_HAND.reset(token)

    def rename(self, name: str) -> None:
        self.inner.update_name(name)

    def note(self, attributes: Attributes) -> None:
        for name, value in attributes.items():
            if value is not None:
                self.inner.set_attribute(name, value)

    def fail(self, reason: str) -> None:
        self.inner.set_attribute("error.type", reason)
        self.inner.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        self.inner.end()


class OpenTelemetry:
    """Records spans with a provider of its own; sampler, limits and exporter follow the OTEL_* variables."""

    def __init__(self, service: str, exporter: SpanExporter | None = None) -> None:
        own = {
            "service.name": f"deskbus-{service}",
            "service.namespace": "deskbus",
            "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        }
        named = {**own, **OTELResourceDetector().detect().attributes}
        self._provider = TracerProvider(
            resource=Resource.create(named),
            span_limits=SpanLimits(max_span_attribute_length=_MOST),
            shutdown_on_exit=False,  # the service says when, and for how long it waits
        )
        processor = BatchSpanProcessor(_otlp()) if exporter is None else SimpleSpanProcessor(exporter)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("deskbus")

    def span(
        self,
        name: str,
        kind: Kind,
        parent: str | None,
        links: Sequence[Span],
        began: datetime | None,
        attributes: Attributes,
        *,
        continues: bool,
    ) -> Recorded:
        inner = self._tracer.start_span(
            name,
            context=_below(parent),
            kind=SpanKind[kind.upper()],
            attributes={key: value for key, value in attributes.items() if value is not None},
            links=[Link(each.context) for each in links if isinstance(each, Recorded)],
            start_time=None if began is None else int(began.timestamp() * 1_000_000_000),
        )
        return Recorded(inner, continues=continues)

    def at_hand(self) -> Recorded | None:
        return _AT_HAND.get()

    def current(self) -> str | None:
        at_hand = _AT_HAND.get()
        return at_hand.traceparent if at_hand is not None and at_hand.continues else None

    def stop(self) -> None:
        self._provider.shutdown()  # sends what is in the queue first


def _otlp() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _below(parent: str | None) -> Context:
    """Return the context that begins a span below `parent`, below the span at hand, or at the root."""
    if parent is None:
        at_hand = _AT_HAND.get()
        return trace.set_span_in_context(at_hand.inner, Context()) if at_hand is not None else Context()
    try:
        _, trace_id, span_id, flags = parent.split("-")
        found = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    except ValueError:
        return Context()  # ROOT, or what is no traceparent
    return trace.set_span_in_context(trace.NonRecordingSpan(found), Context())
