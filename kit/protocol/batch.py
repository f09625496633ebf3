"""What becomes of the records of one batch, over all passes that are made over them.

Rule: each record has one outcome, and a document of which anything waits is held until the next poll. So no pass, over
the whole batch or over one record, lets an event overtake an earlier one of its subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kit.protocol.deadletter import FailedRecord
from kit.protocol.record import Lane, Place, Record, place


@dataclass(slots=True)
class Batch:
    """The outcomes so far. `undone` are the places that must come again; it begins with all of them."""

    undone: set[Place]
    waiting: set[Place] = field(default_factory=set)
    """Those of `undone` that no further pass of this batch can finish."""
    held: set[str | Lane] = field(default_factory=set)
    """Documents of which nothing more is decided in this batch, and partitions of which nothing more is read."""
    dead: dict[Place, FailedRecord] = field(default_factory=dict)
    strange: set[Place] = field(default_factory=set)
    """Those of the dead whose author is unauthenticated, or that an operator sent back: they do not count."""
    looked: bool = False
    """Whether a pass has been made: what was taken for new then may not have been."""
    written: set[Place] = field(default_factory=set)
    """Those of the dead that the dead letter topic has."""

    @classmethod
    def of(cls, records: Iterable[Record]) -> Batch:
        """Begin with nothing done."""
        return cls({place(record) for record in records})

    def hold(self, what: str | Lane, places: Iterable[Place]) -> None:
        """Let these places wait for the next poll, and with them all that follows of that document or partition."""
        self.held.add(what)
        self.waiting.update(places)

    def bury(self, letter: FailedRecord, *, exempt: bool = False) -> None:
        """Make a record a dead letter. The first reason stands, however often the record is looked at."""
        where = place(letter.record)
        self.dead.setdefault(where, letter)
        if exempt:
            self.strange.add(where)

    def unwritten(self) -> dict[Place, FailedRecord]:
        """Return the letters that the dead letter topic does not have yet."""
        return {where: letter for where, letter in self.dead.items() if where not in self.written}

    def settle(self, records: Sequence[Record], again: Iterable[Place]) -> None:
        """Take the records of a pass as done, but for those that wait and those that must be decided again."""
        self.undone -= {place(record) for record in records} - self.waiting - set(again)
