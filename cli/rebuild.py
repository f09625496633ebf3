"""A service's documents again from Kafka alone, into an empty database. Nothing is published, sent or decided anew.

Rule: the service is stopped, and its group's positions are kept: what it has not handled is left to it. A run that was
killed begins again; until one has ended, the service waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition

from cli.reading import TopicRecord, bounds, read
from cli.spool import History, Spool, room
from cli.standstill import Refused, running
from cli.topics import committed
from contracts.dlq import DeadLetter
from contracts.envelope import Event
from contracts.topics import CONSUMES, dlq, group_name, topic_name
from kit.base.clock import SystemClock
from kit.base.errors import Unparsable
from kit.kafka.connection import Kafka, client_options
from kit.mongo import MongoStore, Row, as_stored
from kit.protocol import document
from kit.protocol.document import Document, Kind
from kit.protocol.handling import Incoming, event_item
from kit.protocol.outbox import Documents
from kit.protocol.ports import Outgoing
from kit.protocol.record import partition_of
from kit.protocol.restoring import MARKER, Heard, Restore, Restored, fold

S = TypeVar("S")
T = TypeVar("T")
#: Documents that are written, or compared, in one statement.
PAGE = 500
#: Differences that are reported in full.
SHOWN = 20
_WRITERS = ("version", "outbox", "trace")
"""Fields that belong to the writes of a document and not to its history."""


def differing(mine: Row, stored: Row) -> list[str]:
    """Return which fields differ; of the state, by its own fields."""
    found = []
    for name in sorted(mine.keys() | stored.keys()):
        one, other = mine.get(name), stored.get(name)
        if name == "state" and isinstance(one, dict) and isinstance(other, dict):
            found += [f"state.{each}" for each in differing(one, other)]
        elif one != other:
            found.append(name)
    return found


@dataclass
class Further(Generic[S]):
    """Documents that follow from the events of their own topic and from the documents of the plan."""

    kind: Kind[S]
    documents: Callable[[], Iterable[Document[S]]]
    differ: Callable[[Row, Row], list[str]] = differing


@dataclass
class Plan(Generic[S]):
    """How one service is rebuilt."""

    service: str
    kind: Kind[S]
    restore: Restore[S]
    note: Callable[[Event], None] = lambda _: None
    """Called with every event of the service before the first document is folded."""
    doc_of: Callable[[str], str] = str
    """The document that is about a subject of the service's inputs."""
    read: Callable[[TopicRecord], Sequence[Incoming]] = lambda record: [event_item(record)]
    """Take a record apart, into one item at most."""
    restored: Callable[[S], None] = lambda _: None
    """Called with every state."""
    further: tuple[Further[Any], ...] = ()
    finish: Callable[[], Sequence[tuple[str, Row]]] = tuple
    """Further documents, each with its collection."""
    remarks: Callable[[], Iterator[str]] = lambda: iter(())
    differ: Callable[[Row, Row], list[str]] = differing
    """Which fields of two stored documents differ: made now, and stored by the service."""


@dataclass
class Report:
    """What was rebuilt."""

    documents: int = 0
    heard: int = 0
    said: int = 0
    cut: list[str] = field(default_factory=list)
    """Documents whose history begins before what Kafka still has."""
    differences: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """Records of the service's own topics that are no events, and are left out."""
    remarks: list[str] = field(default_factory=list)
    compared: bool = False

    def lines(self) -> Iterator[str]:
        """Yield what there is to say."""
        done = "compared" if self.compared else "rebuilt"
        yield f"{self.documents} documents {done} from {self.heard} records and {self.said} events of the service"
        if self.cut:
            yield f"{len(self.cut)} began before what Kafka still has, such as {self.cut[0]}"
        if self.unreadable:
            shown = ", ".join(self.unreadable[:SHOWN])
            yield f"{len(self.unreadable)} unreadable records were left out, such as {shown}"
        yield from self.remarks
        yield from self.differences[:SHOWN]
        if len(self.differences) > SHOWN:
            yield f"and {len(self.differences) - SHOWN} more differences"


class Mute:
    """Stands in for the producer: documents that are rebuilt publish nothing."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    async def partitions(self, topic: str) -> int:  # noqa: ARG002
        return self._partitions

    async def send_runs(self, runs: Sequence[Sequence[Outgoing]]) -> list[int]:
        raise AssertionError(f"nothing is published: {runs}")


async def rebuild(
    plan: Plan[S],
    store: MongoStore,
    kafka: Kafka,
    *,
    prefix: str = "",
    earlier: Sequence[str] = (),
    compare: bool = False,
) -> Report:
    """Rebuild a service's documents; with `compare`, compare them with those that are stored. Raises Refused."""
    if not compare:
        await begin(plan.service, _collections(plan), store, kafka, prefix)
    elif reasons := await running(kafka, prefix, [plan.service]):
        raise Refused(reasons)
    report = Report(compared=compare)
    with room(), Spool() as spool:
        offsets = await committed(kafka, group_name(plan.service, prefix))
        dead: set[tuple[str, int, int]] = set()
        for each in (*earlier, prefix):
            await _collect(plan, spool, dead, report, kafka, each)
        present = {topic_name(name, prefix) for name in CONSUMES[plan.service]}
        handled = {(tp.topic, tp.partition): at for tp, at in offsets.items()}
        if not offsets:
            handled = {place: at + 1 for place, at in spool.answered().items() if place[0] in present}
        await _write(plan, store, await _documents(plan, store, kafka, prefix), spool, (dead, handled, present), report)
    report.remarks += plan.remarks()
    if not compare:
        if not offsets:
            await commit(kafka, group_name(plan.service, prefix), handled)
        await store.set_each(MARKER, "state", {MARKER: "done"})
    return report


def _collections(plan: Plan[Any]) -> list[str]:
    return [plan.kind.collection, *(further.kind.collection for further in plan.further)]


async def begin(service: str, collections: Sequence[str], store: MongoStore, kafka: Kafka, prefix: str) -> None:
    """Mark the database as being rebuilt; a run before that did not end left documents, which go. Raises Refused."""
    if reasons := await running(kafka, prefix, [service]):
        raise Refused(reasons)
    rows = await store.fetch(MARKER, [MARKER])
    if not rows and any([await store.find(collection, {}, limit=1) for collection in collections]):
        raise Refused([f"the database of {service} is not empty: drop it to rebuild it"])
    if rows and rows[0]["state"] == "done":
        raise Refused([f"{service} has been rebuilt already, {rows[0]['at']:%F %T}: drop the database to do it again"])
    # A rebuild writes each document once. A backup that was restored over what a run left must not be deleted.
    if any([await store.find(collection, {"version": {"$gt": 1}}, limit=1) for collection in collections]):
        found = f"the database of {service} has documents that the service wrote, and a rebuild that did not end"
        restored = f"if a backup was restored, drop the collection {MARKER} to use it"
        raise Refused([f"{found}: drop the database to rebuild it; {restored}"])
    await store.insert(MARKER, [{"_id": MARKER, "state": "running", "at": SystemClock().now()}])
    for collection in collections:
        await store.empty(collection)


async def _collect(
    plan: Plan[S], spool: Spool, dead: set[tuple[str, int, int]], report: Report, kafka: Kafka, prefix: str
) -> None:
    """Read everything that the service consumed, what it gave up and what it said."""
    async for record in read(kafka, [dlq(plan.service)], prefix=prefix):
        try:
            letter = DeadLetter.from_kafka(record.key, record.value, record.headers)
        except ValueError:
            continue
        dead.add((letter.topic, letter.partition, letter.offset))
    async for record in read(kafka, CONSUMES[plan.service], prefix=prefix):
        item = _item(plan, record)
        subject = None if item is None else item.head.subject if item.head is not None else item.doc_id
        if item is not None and subject is not None:
            cause = item.cause.id if item.cause is not None else None
            spool.hear(plan.doc_of(subject), cause, topic_name(record.topic, prefix), record)
            report.heard += 1
    for further in plan.further:
        async for record in read(kafka, [further.kind.topic], prefix=prefix):
            if (event := own_event(record, prefix, report)) is not None:
                plan.note(event)
    async for record in read(kafka, [plan.kind.topic], prefix=prefix):
        event = own_event(record, prefix, report)
        if event is not None and event.source == plan.kind.source:
            spool.say(event.subject, event.causationid, topic_name(record.topic, prefix), record)
            plan.note(event)
            report.said += 1


def own_event(record: TopicRecord, prefix: str, report: Report) -> Event | None:
    """Read a record of a topic of the service's own; one that is no event is reported and left out."""
    try:
        return Event.parse(record.value or b"")
    except ValueError:
        report.unreadable.append(f"{topic_name(record.topic, prefix)}/{record.partition}/{record.offset}")
        return None


def _item(plan: Plan[S], record: TopicRecord) -> Incoming | None:
    try:
        return next(iter(plan.read(record)), None)
    except Unparsable:  # it became a dead letter that no document knows
        return None


async def _documents(plan: Plan[S], store: MongoStore, kafka: Kafka, prefix: str) -> Documents[S]:
    home = await bounds(kafka, [plan.kind.home_topic], prefix=prefix)
    return Documents(plan.kind, store, Mute(len(home)), SystemClock(), prefix=prefix)


async def _write(
    plan: Plan[S],
    store: MongoStore,
    documents: Documents[S],
    spool: Spool,
    known: tuple[set[tuple[str, int, int]], Mapping[tuple[str, int], int], set[str]],
    report: Report,
) -> None:
    """Fold all documents, and write or compare them page by page."""

    def folded() -> Iterator[Document[S]]:
        for history in spool.histories():
            restored = _fold(plan, history, *known)
            report.differences += [f"{history.doc}: {each}" for each in restored.differences]
            if restored.cut:
                report.cut.append(history.doc)
            if restored.document.changed:
                if restored.document.state is not None:
                    plan.restored(restored.document.state)
                yield restored.document

    for page in pages(folded()):
        await write_page(plan.differ, documents, page, report)
    for further in plan.further:
        others = Documents(further.kind, store, documents.sender, documents.clock, prefix=documents.prefix)
        made = list(further.documents())
        await write_page(further.differ, others, made, report)
        if report.compared:
            ids = {doc.id for doc in made}
            report.remarks += await untold(store, further.kind.collection, ids.__contains__)
    if report.compared:
        report.remarks += await untold(store, plan.kind.collection, spool.knows)
    for collection, row in () if report.compared else plan.finish():
        await store.insert(collection, [row])


def _fold(
    plan: Plan[S],
    history: History,
    dead: set[tuple[str, int, int]],
    handled: Mapping[tuple[str, int], int],
    present: set[str],
) -> Restored[S]:
    heard = []
    for topic, record in history.heard:
        item = _item(plan, record)
        if item is not None:
            at = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
            done = topic not in present or record.offset < handled.get((topic, record.partition), 0)
            is_dead = (topic, record.partition, record.offset) in dead
            heard.append(Heard(item, at, dead=is_dead, handled=done or is_dead))
    return fold(plan.restore, history.doc, heard, [Event.parse(record.value or b"") for record in history.said])


def pages(rows: Iterable[T]) -> Iterator[list[T]]:
    """Yield rows in lists of up to `PAGE`."""
    left = iter(rows)
    while page := list(islice(left, PAGE)):
        yield page


async def write_page(
    differ: Callable[[Row, Row], list[str]], documents: Documents[Any], page: list[Document[Any]], report: Report
) -> None:
    """Write documents, or compare them with those that are stored."""
    report.documents += len(page)
    if not page:
        return
    if not report.compared:
        saved = await documents.save(page)
        if saved.lost:
            raise Refused([f"{saved.lost[0].id} was written by somebody else meanwhile"])
        return
    kind, partitions = documents.kind, await documents.home_partitions()
    stored = {row["_id"]: row for row in await documents.store.fetch(kind.collection, [doc.id for doc in page])}
    for doc in page:
        fields = document.fields(kind, doc, partition_of(kind.home_key(doc.id).encode(), partitions))
        theirs = {name: value for name, value in stored.get(doc.id, {}).items() if name not in {"_id", *_WRITERS}}
        report.differences += [f"{doc.id}: {each}" for each in differ(as_stored(fields), theirs)]


async def untold(store: MongoStore, collection: str, is_known: Callable[[str], bool]) -> list[str]:
    """Say how many stored documents Kafka knows nothing of any more."""
    others, last = list[str](), ""
    while rows := await store.find(
        collection, {"_id": {"$gt": last}}, sort=[("_id", 1)], limit=PAGE, projection=["version"]
    ):
        others += [row["_id"] for row in rows if not is_known(row["_id"])]
        last = rows[-1]["_id"]
    return [f"{len(others)} stored {collection} have no record left in Kafka, such as {others[0]}"] if others else []


async def commit(kafka: Kafka, name: str, positions: Mapping[tuple[str, int], int]) -> None:
    """Give a group that has lost its positions those up to which it has answered."""
    offsets = {TopicPartition(topic, partition): at for (topic, partition), at in positions.items()}
    if not offsets:
        return
    consumer = AIOKafkaConsumer(**client_options(kafka), group_id=name, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(offsets))
        await consumer.commit(offsets)
    finally:
        await consumer.stop()
