"""Traces: what the services say about spans, whether anybody records them or not. OpenTelemetry is in `spans.py`.

Rule: off by default; then no SDK is imported, and a span costs a function call. Attributes may name tickets and events
by their ids, never what customers wrote or who they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, Protocol, Self

from kit.base import series

Attributes = Mapping[str, str | int | float | bool | None]
Kind = Literal["internal", "server", "client", "producer", "consumer"]
#: As the parent of a span: none, even where a span is at hand.
ROOT = ""
_NONE: Attributes = MappingProxyType({})


class Span:
    """A span that is not recorded. `with span:` has it at hand, and ends it."""

    traceparent: str | None = None
    """The span as W3C context: what is sent or stored, so that others continue the trace from here."""

    def __enter__(self) -> Self:
        """Have it at hand."""
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: object) -> None:
        """End it; it failed if there is a fault."""

    def at_hand(self) -> AbstractContextManager[object]:
        """Have it at hand for a while, without ending it."""
        return nullcontext()

    def rename(self, name: str) -> None:
        """Change its name, which is from a bounded set."""

    def note(self, attributes: Attributes) -> None:
        """Add attributes; one that is None is left out."""

    def fail(self, reason: str) -> None:
        """Mark it as failed. `reason` is a class of faults or a status, not a text that may quote a customer."""

    def end(self) -> None:
        """End it. A span that is never ended is never reported."""


class Recorder(Protocol):
    """What records spans while tracing is on."""

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
    ) -> Span: ...
    def at_hand(self) -> Span | None: ...
    def current(self) -> str | None: ...
    def stop(self) -> None: ...


UNRECORDED = Span()
"""The span of everything while tracing is off."""
_recorder: Recorder | None = None


def start(service: str, exporter: Any = None) -> None:
    """Record spans from here on, as the OTEL_* variables say. Raises ImportError without the extra `tracing`.

    `exporter` replaces the one that sends spans by OTLP over HTTP.
    """
    global _recorder  # noqa: PLW0603 - a process is one service, and records to one place
    from kit.base.spans import OpenTelemetry

    _recorder = OpenTelemetry(service, exporter)
    series.exemplars_from(_trace)


async def stop(seconds: float) -> None:
    """Record nothing more, and send what is recorded for at most so many seconds."""
    global _recorder
    recorder, _recorder = _recorder, None
    if recorder is None:
        return
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def send() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            try:
                recorder.stop()
            finally:
                loop.call_soon_threadsafe(done.set)

    # Not one of the loop's threads: Python would wait for it, however long the collector takes to answer.
    threading.Thread(target=send, name="spans", daemon=True).start()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), seconds)


def is_on() -> bool:
    """Whether spans are recorded."""
    return _recorder is not None


def span(
    name: str,
    kind: Kind = "internal",
    *,
    parent: str | None = None,
    links: Sequence[Span] = (),
    began: datetime | None = None,
    attributes: Attributes = _NONE,
    continues: bool = True,
) -> Span:
    """Begin a span below `parent` (a traceparent, or ROOT), by default below the span at hand.

    `began` is when it began, if not now. `current` leaves out one that does not `continue` in events and requests.
    """
    if _recorder is None:
        return UNRECORDED
    return _recorder.span(name, kind, parent, links, began, attributes, continues=continues)


def within(name: str, kind: Kind = "internal", attributes: Attributes = _NONE) -> Span:
    """Begin a span only if one is at hand: what a service does all the time by itself makes no traces."""
    if _recorder is None or _recorder.at_hand() is None:
        return UNRECORDED
    return span(name, kind, attributes=attributes)


def current() -> str | None:
    """Return the traceparent for events and requests that follow from the span at hand."""
    return None if _recorder is None else _recorder.current()


def ids() -> tuple[str, str] | None:
    """Return the ids of the trace and the span at hand, for log lines; None if it is not sampled."""
    at_hand = None if _recorder is None else _recorder.at_hand()
    if at_hand is None or at_hand.traceparent is None:
        return None
    _, trace, own, flags = at_hand.traceparent.split("-")
    return (trace, own) if int(flags, 16) & 1 else None


def _trace() -> str | None:
    """Return the id of the trace at hand, which becomes the exemplar of what a histogram observes."""
    found = ids()
    return found[0] if found is not None else None
