"""What a service brings to the batch loop: how a record is taken apart, whose it is, and what it decides.

Nothing is done with it here; that is the work of `delivery.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from contracts.envelope import Event, Head
from kit.base.errors import Unparsable
from kit.protocol.document import Cause, Decision, Document
from kit.protocol.record import Record

S = TypeVar("S")


@dataclass(slots=True)
class Incoming:
    """One thing to be decided out of a record: usually its event; a webhook's record may hold several messages.

    `doc_id` None means that it changes nothing here. `head` says where a numbered event stands; commands and raw
    messages have none. `fault` marks what cannot be handled although its head could be read, `stranger` that whoever
    wrote it proved nothing, `unforeseen` that our own code failed on it. `incomplete` says that its document lacks
    events of the same source: this may be one of them, or one of them may come later. `value` is the service's.
    """

    record: Record
    event: Event | None = None
    head: Head | Event | None = None
    doc_id: str | None = None
    value: Any = None
    cause: Cause | None = None
    fault: str | None = None
    exempt: bool = False
    unforeseen: bool = False
    incomplete: bool = False


class Handling(Protocol[S]):
    """What a service brings to the loop."""

    @property
    def begins(self) -> str | None: ...

    def expand(self, record: Record) -> Sequence[Incoming]:
        """Take a record apart; raises Unparsable for what goes to the DLQ."""

    def is_exempt(self, record: Record, *, unforeseen: bool) -> bool:
        """Whether a letter of the record does not count towards stopping. Never raises.

        It does not if the record's author is unauthenticated, or (`unforeseen`: our own code failed on it) if such
        people write what is in it.
        """

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[S]]:
        """Set `doc_id` of each item where it is not its event's subject; may also replace items in the list.

        Returns the documents that it had to load for that, so that they are not loaded twice.
        """

    async def before_decide(self, docs: Sequence[Document[S]]) -> None:
        """Fetch what deciding about these documents needs to know besides them."""

    def decide(self, state: S | None, item: Incoming, now: datetime) -> Decision[S]:
        """Decide, and change nothing: a decision may be lost and made anew, and none of it has happened until then.

        TransientError stops this subject for now, anything else raised makes the record a dead letter.
        """

    def count(self, item: Incoming, decision: Decision[S]) -> None:
        """Count what was decided. Called once it is stored."""

    async def before_write(self, docs: Sequence[Document[S]]) -> None:
        """Do what must be durable before the documents are (claims); may apply further decisions to them."""

    async def after_write(self, won: Sequence[Document[S]], lost: Sequence[Document[S]]) -> None:
        """Look after what the write left behind (a loser's claims)."""


class BaseHandling(Generic[S]):
    """Handling of a service that follows an event topic and needs nothing but `decide`."""

    #: Types whose content `decide` looks at; None: all. Of others only the number is read: they are taken as seen.
    event_types: Collection[str] | None = None
    #: The source whose first event begins a subject. No document is looked for then: if there is one all the same, the
    #: guarded write is refused, and it is loaded.
    begins: str | None = None

    def expand(self, record: Record) -> Sequence[Incoming]:
        """Read the record as one CloudEvent."""
        return [event_item(record, self.event_types)]

    def is_exempt(self, record: Record, *, unforeseen: bool) -> bool:  # noqa: ARG002 - for who takes records of others
        """Know every author: services write the topics."""
        return False

    async def locate(self, items: list[Incoming]) -> Mapping[str, Document[S]]:  # noqa: ARG002 - for who needs them
        """Keep the subject as the document's id."""
        return {}

    async def before_decide(self, docs: Sequence[Document[S]]) -> None:
        """Need to know nothing else."""

    def count(self, item: Incoming, decision: Decision[S]) -> None:
        """Count nothing of its own."""

    async def before_write(self, docs: Sequence[Document[S]]) -> None:
        """Need nothing first."""

    async def after_write(self, won: Sequence[Document[S]], lost: Sequence[Document[S]]) -> None:
        """Leave nothing behind."""


def event_item(record: Record, event_types: Collection[str] | None = None) -> Incoming:
    """Read a record as a CloudEvent. One with unreadable data keeps its number, so that it can become a hole.

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
