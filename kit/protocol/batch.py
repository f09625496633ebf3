"""What becomes of the records of one batch, over all passes that are made over them.

Rule: each record has one outcome, and a document of which anything waits is held until the next poll. So no pass, over
the whole batch or over one record, lets an event overtake an earlier one of its subject.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from kit.base.tracing import Span
from kit.protocol.deadletter import FailedRecord
from kit.protocol.record import Lane, Place, Record, place


@dataclass(slots=True)
class Batch:
    """The outcomes so far."""

    undone: set[Place]
    """Records that must come again. A batch begins with all of them."""
    waiting: set[Place] = field(default_factory=set)
    """Those of `undone` that no further pass of this batch can finish."""
    held: set[str | Lane] = field(default_factory=set)
    """Documents about which nothing more is decided in this batch, and partitions of which nothing more is read."""
    dead: dict[Place, FailedRecord] = field(default_factory=dict)
    trace: Span = field(default_factory=Span)
    """The batch as a span, to which those of its records are linked."""
    began: datetime | None = None
    looked: bool = False
    """Whether a pass was made: documents that it took for new may exist."""

    @classmethod
    def of(cls, records: Iterable[Record]) -> Batch:
        """Begin with nothing done."""
        return cls({place(record) for record in records})

    def hold(self, what: str | Lane, places: Iterable[Place]) -> None:
        """Let these records wait for the next poll, and with them all that follows of that document or partition."""
        self.held.add(what)
        self.waiting.update(places)

    def settle(self, records: Iterable[Record], again: Iterable[Place] = ()) -> None:
        """Take the records of a pass as done, except those that wait and those that must be decided again."""
        self.undone -= {place(record) for record in records} - self.waiting - set(again)
