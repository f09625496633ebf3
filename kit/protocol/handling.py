"""What a service brings to the batch loop: how a record is taken apart, which document it is about, what is decided.

Nothing is written here; that is the work of `delivery.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from contracts.envelope import Event, Head
from kit.base.errors import Unparsable
from kit.protocol.document import Cause, Decision, Document
from kit.protocol.record import Record

S = TypeVar("S")


@dataclass(slots=True)
class Incoming:
    """One thing to decide from a record: usually its event; a webhook's record may hold several messages."""

    record: Record
    event: Event | None = None
    head: Head | Event | None = None
    """Where a numbered event stands; commands and raw messages have none."""
    doc_id: str | None = None
    """The document it is about; None: it changes nothing here."""
    value: Any = None
    """The service's own."""
    cause: Cause | None = None
    fault: str | None = None
    """Why it cannot be handled, although its head could be read."""
    exempt: bool = False
    """Whether a dead letter of it does not count towards stopping: see `Handling.is_exempt`."""
    unforeseen: bool = False
    """Whether the fault is a failure of our own code."""
    incomplete: bool = False
    """Whether its document lacks events of the same source: this may be one of them, or one may come later."""
    part: int = 0
    """Its position among what was made of the record."""


class Handling(Generic[S]):
    """What a service brings to the batch loop. One that follows an event topic needs nothing but `decide`."""

    event_types: Collection[str] | None = None
    """Types whose content `decide` looks at; None: all. Of other types only the number is read: they count as seen."""
    begins: str | None = None
    """The source whose first event begins a subject. Its document is taken as new without asking the store; if it
    exists all the same, the guarded write is refused and the document is loaded."""

    def expand(self, record: Record) -> Sequence[Incoming]:
        """Take a record apart, by default as one CloudEvent; raises Unparsable for one that becomes a dead letter."""
        return [event_item(record, self.event_types)]

    def is_exempt(self, record: Record, *, unforeseen: bool) -> bool:  # noqa: ARG002 - for services that take records of others
        """Whether a dead letter of the record does not count towards stopping. Never raises.

        It does not where the record's author is unauthenticated, or where our own code failed (`unforeseen`) on what
        such people write. By default every author is known: services write the topics.
        """
        return False

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[S]]:  # noqa: ARG002 - for services that need them
        """Set `doc_id` of each item that is not about its event's subject; may also replace items in the list.

        Returns the documents that this had to load, so that they are not loaded twice.
        """
        return {}

    async def before_decide(self, docs: Sequence[Document[S]]) -> None:
        """Load what deciding about these documents needs besides them."""

    def decide(self, state: S | None, item: Incoming, now: datetime) -> Decision[S]:
        """Decide, without side effects: a decision may be discarded and made again.

        TransientError stops this subject for now; anything else raised makes the record a dead letter.
        """
        raise NotImplementedError

    def count(self, item: Incoming, decision: Decision[S]) -> None:
        """Count what was decided. Called once it is stored."""

    async def before_write(self, docs: Sequence[Document[S]]) -> None:
        """Do what must be durable before the documents are (claims); may apply further decisions to them."""

    async def after_write(self, won: Sequence[Document[S]], lost: Sequence[Document[S]]) -> None:
        """Clean up after the write (claims of those that lost it)."""


def event_item(record: Record, event_types: Collection[str] | None = None) -> Incoming:
    """Read a record as a CloudEvent; raises Unparsable. One with unreadable data keeps its number: it becomes a hole.

    Of known types that are not among `event_types` only the head is read, and `event` is None.
    """
    value = record.value or b""
    try:
        event = Event.parse(value) if event_types is None else Event.parse_only(value, event_types)
        if isinstance(event, Head):
            return Incoming(record, None, event, event.subject)
        return Incoming(record, event, event, event.subject, cause=Cause.of(event))
    except ValueError as error:
        fault = f"invalid event: {error}"[:2000]
    try:
        head = Event.envelope_only(value)
    except ValueError as error:
        raise Unparsable(fault) from error
    return Incoming(record, None, head, head.subject, fault=fault)
