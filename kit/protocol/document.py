"""A document of the outbox pattern as a value: its state, what it has seen, and the events it still has to publish.

Pure: no IO and no clock. Here are the rules for taking an event once (`Seen`) and for numbering events (`apply`);
reading and writing documents is the work of `outbox.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from contracts.envelope import Event, Payload, event_id
from kit.base.errors import Full, TooLarge, Unloadable

S = TypeVar("S")

#: Most sequence numbers of one source that a document remembers as missing; beyond that the oldest are given up.
MISSING_CAP = 1_000
#: Most unconfirmed events of a document before its partition waits for the broker, and most events of one decision.
OUTBOX_CAP = 1_000


@dataclass(frozen=True, slots=True)
class Insert:
    """A plain document, inserted before the aggregate that refers to it is written; an existing one is kept."""

    collection: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Decision(Generic[S]):
    """What a core decided: the new state (None: unchanged), the events to publish, the plain documents to insert."""

    state: S | None = None
    events: Sequence[Payload] = ()
    inserts: Sequence[Insert] = ()


@dataclass(frozen=True, slots=True)
class Cause:
    """What caused a decision, as far as its events name it."""

    id: str
    correlationid: str
    traceparent: str | None = None

    @classmethod
    def of(cls, event: Event) -> Cause:
        """Make an event the cause."""
        return cls(event.id, event.correlationid, event.traceparent)


@dataclass(frozen=True, slots=True)
class Kind(Generic[S]):
    """One kind of aggregate: its collection, the source and topic of its events, how its state is loaded and stored.

    `due` returns the next instant at which a timer of the state fires (None: never). Its timers are run by the owner of
    the partition that `home_key(id)` has in `home_topic`. `to_send` returns how much waits to be sent to people.
    """

    collection: str
    source: str
    topic: str
    load: Callable[[Mapping[str, Any]], S]
    dump: Callable[[S], dict[str, Any]]
    due: Callable[[S], datetime | None] = lambda _: None
    to_send: Callable[[S], int] = lambda _: 0
    home_topic: str = ""
    home_key: Callable[[str], str] = str


@dataclass(slots=True)
class Seen:
    """What a document took from one source: all numbers up to and including `upto`, except those in `missing`.

    Numbers before the first event count as taken, as they may never come. So do those that were given up. `floor` is
    the highest of either.
    """

    upto: int = 0
    missing: set[int] = field(default_factory=set)
    floor: int = 0

    @classmethod
    def before(cls, sequence: int) -> Seen:
        """Return what a document has seen of a source whose first event this is."""
        return cls(sequence - 1, floor=sequence - 1)

    def has(self, sequence: int) -> bool:
        """Whether the event was taken already."""
        return sequence <= self.upto and sequence not in self.missing

    def take(self, sequence: int, *, dead: bool = False) -> int:
        """Mark an event as taken or, where it is `dead`, as passed by: then it is still taken when it is replayed.

        Returns how many numbers before it are newly missing.
        """
        gap = max(0, sequence - self.upto - 1)
        if gap > MISSING_CAP:
            self.floor = sequence - MISSING_CAP - 1
        self.missing.update(range(max(self.upto + 1, sequence - MISSING_CAP), sequence))
        (self.missing.add if dead else self.missing.discard)(sequence)
        if len(self.missing) > MISSING_CAP:
            ordered = sorted(self.missing)
            self.missing = set(ordered[-MISSING_CAP:])
            self.floor = max(self.floor, ordered[-MISSING_CAP - 1])
        self.upto = max(self.upto, sequence)
        return gap

    def overflows(self, sequence: int) -> bool:
        """Whether more numbers would be missing with this event than are remembered."""
        return len(self.missing) + max(0, sequence - self.upto - 1) > MISSING_CAP


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in an outbox. Its id, number and bytes are fixed when it enters."""

    id: str
    sequence: int
    at: datetime
    event: bytes

    def dump(self) -> dict[str, Any]:
        """Return the entry as it is stored."""
        return {"id": self.id, "sequence": self.sequence, "at": self.at, "event": self.event}


@dataclass(slots=True)
class Document(Generic[S]):
    """One aggregate as loaded, with what was decided since. Version 0: never written; state None: never decided.

    `fault` is why its state does not load here. What it has seen and its outbox are known all the same, and a write
    leaves the state as it is stored.
    """

    id: str
    version: int = 0
    seen: dict[str, Seen] = field(default_factory=dict)
    emitted: int = 0
    outbox: list[Entry] = field(default_factory=list)
    fresh: list[Entry] = field(default_factory=list)
    inserts: list[Insert] = field(default_factory=list)
    changed: bool = False
    announced: list[Payload] = field(default_factory=list)
    """The events of the decisions since the last write."""
    reports: list[Callable[[], object]] = field(default_factory=list)
    """What counts and logs the decisions of a batch. Called once they are stored, and lost with the document."""
    fault: str | None = None
    trace: str | None = None
    """Trace of the last decision that published events or left something to send: what follows later continues it."""
    _state: S | None = None

    @property
    def state(self) -> S | None:
        """The state; raises Unloadable if it does not load."""
        if self.fault is not None:
            raise Unloadable(f"{self.id} cannot be loaded: {self.fault}")
        return self._state

    @state.setter
    def state(self, state: S | None) -> None:
        self._state = state

    def has_seen(self, source: str, sequence: int) -> bool:
        """Whether this event of this source was taken already."""
        seen = self.seen.get(source)
        return seen is not None and seen.has(sequence)

    def lacks(self, source: str, sequence: int) -> bool:
        """Whether events of this source up to this one are missing, which may still be replayed."""
        seen = self.seen.get(source)
        return seen is not None and (bool(seen.missing) or sequence > seen.upto + 1)

    def is_below_floor(self, source: str, sequence: int) -> bool:
        """Whether this event counts as taken, but may never have been."""
        return self.has_seen(source, sequence) and sequence <= self.seen[source].floor

    def overflows(self, source: str, sequence: int) -> bool:
        """Whether more numbers of this source would be missing with this event than are remembered."""
        return source in self.seen and self.seen[source].overflows(sequence)

    def take(self, source: str, sequence: int, *, dead: bool = False) -> int:
        """Mark an event as taken, or as dead; returns how many numbers before it are newly missing.

        Before a source's first event none are.
        """
        self.changed = True
        return self.seen.setdefault(source, Seen.before(sequence)).take(sequence, dead=dead)


def apply(
    kind: Kind[S],
    doc: Document[S],
    decision: Decision[S],
    *,
    now: datetime,
    cause: Cause | None,
    limit: int,
    trace: str | None = None,
) -> None:
    """Apply a decision to a document, or raise and leave it unchanged. `trace` is for events whose cause has none.

    Raises TooLarge for an event above `limit` bytes or for more events than an outbox may hold, Full when the outbox
    already holds too many, and Unloadable.
    """
    state = doc.state
    if len(decision.events) > OUTBOX_CAP:
        raise TooLarge(f"one decision has {len(decision.events)} events, at most {OUTBOX_CAP} are allowed")
    if len(doc.outbox) + len(doc.fresh) + len(decision.events) > OUTBOX_CAP:
        raise Full(f"more than {OUTBOX_CAP} events are waiting to be published")
    entries = []
    trace = (cause.traceparent if cause else None) or trace
    for number, payload in enumerate(decision.events, start=doc.emitted + 1):
        entry = _entry(kind, doc.id, number, payload, now=now, cause=cause, trace=trace)
        if len(entry.event) > limit:
            raise TooLarge(f"{payload.type} has {len(entry.event)} bytes, at most {limit} are allowed")
        entries.append(entry)
    before = 0 if state is None else kind.to_send(state)
    left_to_send = decision.state is not None and kind.to_send(decision.state) > before
    doc.state = state if decision.state is None else decision.state
    doc.fresh += entries
    doc.announced += decision.events
    doc.emitted += len(entries)
    doc.inserts += decision.inserts
    doc.changed = doc.changed or decision.state is not None or bool(entries)
    if trace and (entries or left_to_send):
        doc.trace = trace


def _entry(
    kind: Kind[S],
    doc_id: str,
    sequence: int,
    payload: Payload,
    *,
    now: datetime,
    cause: Cause | None,
    trace: str | None,
) -> Entry:
    own = event_id(kind.source, doc_id, sequence)
    event = Event.of(
        payload,
        source=kind.source,
        subject=doc_id,
        sequence=sequence,
        time=now,
        correlationid=cause.correlationid if cause else own,
        causationid=cause.id if cause else None,
        traceparent=trace,
    )
    return Entry(own, sequence, now, event.encode())


def read(kind: Kind[S], raw: Mapping[str, Any]) -> Document[S]:
    """Return a stored document."""
    doc: Document[S] = Document(
        id=raw["_id"],
        version=raw["version"],
        seen={_unfield(s): _seen(v) for s, v in raw.get("seen", {}).items()},
        emitted=raw.get("emitted", 0),
        outbox=outbox(raw),
        trace=raw.get("trace"),
    )
    state = raw.get("state")
    try:
        doc.state = None if state is None else kind.load(state)
    except Exception as error:
        doc.fault = f"{type(error).__name__}: {error}"[:300]
    return doc


def outbox(raw: Mapping[str, Any]) -> list[Entry]:
    """Return the outbox of a stored document."""
    return [Entry(e["id"], e["sequence"], e["at"], bytes(e["event"])) for e in raw.get("outbox", ())]


def fields(kind: Kind[S], doc: Document[S], partition: int | None) -> dict[str, Any]:
    """Return what a guarded write sets: all but `_id`, `version`, `outbox`, and a state that did not load."""
    taken: dict[str, Any] = {
        "seen": {_field(s): _stored(v) for s, v in doc.seen.items()},
        "emitted": doc.emitted,
    }
    if doc.trace is not None:
        taken["trace"] = doc.trace
    if doc.fault is not None:
        return taken
    return taken | {
        "state": None if doc.state is None else kind.dump(doc.state),
        "due": None if doc.state is None else kind.due(doc.state),
        "partition": partition,
    }


def _seen(stored: Mapping[str, Any]) -> Seen:
    return Seen(stored["upto"], set(stored["missing"]), stored.get("floor", 0))


def _stored(seen: Seen) -> dict[str, Any]:
    stored = {"upto": seen.upto, "missing": sorted(seen.missing)}
    return stored | {"floor": seen.floor} if seen.floor else stored


# A source is a field name in MongoDB, where a dot would open a level and a dollar sign is an operator.
def _field(source: str) -> str:
    return source.replace("%", "%25").replace(".", "%2E").replace("$", "%24")


def _unfield(name: str) -> str:
    return name.replace("%24", "$").replace("%2E", ".").replace("%25", "%")
