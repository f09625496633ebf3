"""What a document was, from what Kafka still has: the records that its service heard, and the events that it said.

Rule: what was said is the truth, and nothing is said again. The service's own rules decide each record anew, at the
place among the document's own events where that record was handled then; events without a record (timers, doors) are
applied as they were published. Pure: reading Kafka and writing documents is the caller's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Generic, Protocol, TypeVar

from contracts.dlq import is_replay
from contracts.envelope import Command, Event
from contracts.payload import Payload
from kit.protocol.document import Decision, Document
from kit.protocol.handling import Incoming

S = TypeVar("S")

MARKER = "rebuild"
"""Collection, and id, of the document by which a rebuild says that it is running or done."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A record about one document, as its service consumed it."""

    item: Incoming
    at: datetime
    """When its producer wrote it, by its clock. `fold` takes none to be before the one ahead of it in its partition."""
    dead: bool = False
    """Whether it became a dead letter."""
    handled: bool = True
    """Whether the consumer group has committed past it. If not, it counts only if events name it as their cause."""

    @property
    def id(self) -> str | None:
        """Return the id by which events name it as their cause."""
        return self.item.cause.id if self.item.cause is not None else None

    @property
    def lane(self) -> tuple[str, int]:
        """Return its topic and partition, which keep the order of their records."""
        return self.item.record.topic, self.item.record.partition


class Restore(Protocol[S]):
    """What a service's core brings: its rules, held to the events that they led to then."""

    def heard(
        self, state: S | None, what: Event | Command, at: datetime, said: Sequence[Event], *, incomplete: bool
    ) -> Decision[S]:
        """Decide a record of that instant again. `said` are the events that it led to."""
        ...

    def said(self, state: S | None, said: Sequence[Event]) -> Decision[S]:
        """Apply events that no record led to."""
        ...

    def finished(self, state: S) -> S:
        """Return the state after everything was applied."""
        ...

    def agrees(self, mine: Payload, said: Payload) -> bool:
        """Return whether an event decided now is the one that was published then."""
        ...


@dataclass
class Restored(Generic[S]):
    """A document again. It has no outbox: what was not published was never said."""

    document: Document[S]
    differences: list[str] = field(default_factory=list)
    """Decisions that were others then; the state follows today's rules there."""
    cut: bool = False
    """Whether its history begins before what Kafka still has."""


def fold(restore: Restore[S], doc_id: str, heard: Sequence[Heard], said: Sequence[Event]) -> Restored[S]:
    """Return the document after everything that was heard, in the order of each partition, and said about it."""
    told = {event.sequence: event for event in said}  # a duplicate on the log has the same number
    ordered = [told[number] for number in sorted(told)]
    return _Fold(restore, doc_id, heard).run(ordered)


class _Fold(Generic[S]):
    """One document while its decisions are made again, in the order in which they were made then.

    A record that led to events has its place by them. One that led to none stands where the times say: after what came
    before it in its topic, and before what was said later than it was written; but where it would lead to events, what
    is said next came first.
    """

    def __init__(self, restore: Restore[S], doc_id: str, heard: Sequence[Heard]) -> None:
        self._restore = restore
        self._restored: Restored[S] = Restored(Document(doc_id))
        self._doc = self._restored.document
        self._waiting = dict(enumerate(sorted(_in_order(heard), key=lambda each: each.at)))
        self._speaking: dict[str, int] = {}
        """Records that led to events which are still to come: id by which these name them -> place in `_waiting`."""

    def run(self, said: Sequence[Event]) -> Restored[S]:
        """Make all decisions."""
        runs = [tuple(run) for _, run in groupby(said, key=lambda event: (event.causationid, event.time))]
        causes = {run[0].causationid for run in runs}
        for place, each in self._waiting.items():
            if each.id is not None and each.id in causes and not each.dead:
                self._speaking.setdefault(each.id, place)  # a copy that came later changed nothing
        for run in runs:
            number = self._speaking.pop(run[0].causationid or "", None)
            if number is None:
                self._hear_silent(run[0].time, None)
                self._apply(run[0].id, run, partial(self._restore.said, said=run))
            else:
                self._hear_silent(self._waiting[number].at, number)
                self._hear(self._waiting.pop(number), run)
        self._hear_silent(None, None)
        if self._doc.state is not None:
            self._doc.state = self._restore.finished(self._doc.state)
        if said:
            self._doc.emitted = said[-1].sequence
            self._doc.changed = True
            self._restored.cut = self._restored.cut or said[0].sequence > 1
        return self._restored

    def _hear_silent(self, until: datetime | None, before: int | None) -> None:
        """Take the records without events, up to an instant and to the record that comes next; None: all that is left.

        What follows one with events in its topic waits for that one.
        """
        blocked: set[tuple[str, int]] = set()
        for number, each in list(self._waiting.items()):
            lane = each.lane
            if (before is not None and number >= before) or (until is not None and each.at > until):
                return
            if lane in blocked:
                continue
            if number in self._speaking.values():
                blocked.add(lane)
            elif not each.handled or self._hear(each, (), wait=until is not None):
                del self._waiting[number]
            else:
                blocked.add(lane)

    def _hear(self, heard: Heard, said: Sequence[Event], *, wait: bool = False) -> bool:
        """Take a record as `delivery.py` does. With `wait`, leave one that would lead to events, and return False."""
        doc, item, head = self._doc, heard.item, heard.item.head
        if head is not None and doc.has_seen(head.source, head.sequence):
            if said:
                kinds = [event.type for event in said]
                self._restored.differences.append(f"{_name(heard, said)}: now already taken, then {kinds}"[:500])
            return True
        if head is not None and not is_replay(item.record.headers):
            self._restored.cut = self._restored.cut or (head.source not in doc.seen and head.sequence > 1)
        what: Event | Command | None = item.event if item.event is not None else item.value
        dead = heard.dead or item.fault is not None
        if not dead and what is not None and what.known:
            incomplete = head is not None and doc.lacks(head.source, head.sequence)
            decide = partial(self._restore.heard, what=what, at=heard.at, said=said, incomplete=incomplete)
            if not self._apply(_name(heard, said), said, decide, wait=wait):
                return False
        if head is not None:
            doc.take(head.source, head.sequence, dead=dead)
        return True

    def _apply(
        self, name: str, said: Sequence[Event], decide: Callable[[S | None], Decision[S]], *, wait: bool = False
    ) -> bool:
        try:
            decision = decide(self._doc.state)
        except Exception as fault:
            self._restored.differences.append(f"{name}: {type(fault).__name__}: {fault}"[:300])
            return True
        mine, then = list(decision.events), [event.data for event in said]
        if wait and mine:
            return False
        self._doc.inserts += decision.inserts
        if decision.state is not None:
            self._doc.state, self._doc.changed = decision.state, True
        if len(mine) != len(then) or not all(map(self._restore.agrees, mine, then)):
            kinds = [[payload.type for payload in each] for each in (mine, then)]
            self._restored.differences.append(f"{name}: now {kinds[0]}, then {kinds[1]}"[:500])
        return True


def _in_order(heard: Sequence[Heard]) -> Iterator[Heard]:
    """Yield records, none with a time before that of the one ahead in its partition: clocks of producers differ."""
    latest: dict[tuple[str, int], datetime] = {}
    for each in heard:
        at = latest[each.lane] = max(each.at, latest.get(each.lane, each.at))
        yield replace(each, at=at)


def _name(heard: Heard, said: Sequence[Event]) -> str:
    record = heard.item.record
    return said[0].id if said else f"{record.topic}/{record.partition}/{record.offset}"
