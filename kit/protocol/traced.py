"""The spans of the batch loop. A record's span continues the trace of what caused it, and its events continue the span.

Rule: a span is ended once its decision is stored, so a decision that is discarded leaves none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kit.base import tracing
from kit.base.tracing import Attributes, Span
from kit.protocol.batch import Batch
from kit.protocol.handling import Incoming
from kit.protocol.record import Record


def batch_span(records: Sequence[Record]) -> Span:
    """Begin the span of a batch, a trace of its own: it serves many. Those of its records are linked to it."""
    if not tracing.is_on():
        return tracing.UNRECORDED
    counted: Attributes = {"messaging.system": "kafka", "messaging.batch.message_count": len(records)}
    return tracing.span("batch", "consumer", parent=tracing.ROOT, attributes=counted, continues=False)


def record_span(item: Incoming, batch: Batch) -> Span:
    """Begin the span of what is decided about a record, and make it the cause's place in the trace."""
    if item.cause is None or not tracing.is_on():
        return tracing.UNRECORDED
    record = item.record
    span = tracing.span(
        f"process {item.event.type.removeprefix('deskbus.') if item.event is not None else record.topic}",
        "consumer",
        parent=item.cause.traceparent or tracing.ROOT,
        links=[batch.trace],
        began=batch.began,
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "deskbus.cause": item.cause.id,
            "deskbus.document": item.doc_id,
        },
    )
    if span.traceparent is not None:
        item.cause = replace(item.cause, traceparent=span.traceparent)
    return span
