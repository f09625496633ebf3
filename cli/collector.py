"""The records that the audit checks, and its report. Only checks that need the order of arrival are made here."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from cli.reading import TopicRecord
from contracts import topics
from contracts.dlq import DeadLetter
from contracts.envelope import Command, Event
from contracts.inbound import InboundRecord

Subject = tuple[str, str]
"""Source and subject."""


@dataclass
class Report:
    """The findings. `faults` must be empty; `open` is unfinished work, which counts as a fault once all is settled."""

    counts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    open: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def clean(self) -> bool:
        """Return whether no fault was found."""
        return not any(self.faults.values())

    def holds(self, *, settled: bool) -> bool:
        """Return whether the audit passes; with `settled`, unfinished work counts as a fault."""
        return self.clean and not (settled and any(self.open.values()))


class Collector:
    """Collects records of topics. Events are kept by sequence number: a resend is no duplicate in effect."""

    def __init__(self) -> None:
        self._events: dict[Subject, dict[int, Event]] = defaultdict(dict)
        self._digests: dict[str, bytes] = {}
        self._highest: dict[Subject, int] = {}
        """Highest sequence number so far."""
        self._letters: list[DeadLetter] = []
        self._inbound: dict[str, tuple[str, InboundRecord]] = {}
        self._commands: dict[str, tuple[Command, bytes]] = {}
        self._caused: dict[str, set[str]] = defaultdict(set)
        self._topic_of_source = {s: t for t in topics.TOPICS for s in t.sources}
        self.report_so_far = Report()
        self._count = self.report_so_far.counts
        for name in ("inbound", "commands", "events", "resends", "dead letters"):
            self._count[name] = 0

    def feed(self, record: TopicRecord) -> None:
        """Collect one record."""
        if record.topic == topics.INBOUND:
            self._count["inbound"] += 1
            self._feed_inbound(record)
        elif record.topic == topics.COMMAND:
            self._feed_command(record)
        elif record.topic.endswith(".dlq.v1"):
            self._count["dead letters"] += 1
            self._feed_letter(record)
        elif record.topic in topics.BY_NAME and topics.BY_NAME[record.topic].sources:
            self._feed_event(record)

    def _feed_inbound(self, record: TopicRecord) -> None:
        try:
            inbound = InboundRecord.from_kafka(record.value, record.headers)
        except ValueError as error:
            self._fault("unreadable records", f"{place(record)}: {error}")
            return
        self._inbound[inbound.receipt] = place(record), inbound

    def _feed_command(self, record: TopicRecord) -> None:
        try:
            command = Command.parse(record.value or b"")
        except ValueError:
            return  # connectors may write anything here; an unreadable command is counted as a dead letter
        self._count["commands"] += command.id not in self._commands
        self._commands[command.id] = command, record.value or b""

    def _feed_letter(self, record: TopicRecord) -> None:
        try:
            self._letters.append(DeadLetter.from_kafka(record.key, record.value, record.headers))
        except ValueError as error:
            self._fault("unreadable records", f"{place(record)}: {error}")

    def _feed_event(self, record: TopicRecord) -> None:
        try:
            event = Event.parse(record.value or b"")
        except ValueError as error:
            self._fault("unreadable records", f"{place(record)}: {error}")
            return
        self._count["events"] += 1
        if event.causationid and record.topic == topics.TICKETS:
            self._caused[event.causationid].add(event.id)
        digest = hashlib.blake2b(record.value or b"", digest_size=16).digest()
        if (known := self._digests.get(event.id)) is not None:
            self._count["resends"] += 1
            if known != digest:
                self._fault("two different events with one id", event.id)
            return
        self._digests[event.id] = digest
        subject = event.source, event.subject
        if self._highest.get(subject, 0) > event.sequence and self._sequenced(event.source):
            self._fault("events out of order", event.id)
        self._highest[subject] = max(self._highest.get(subject, 0), event.sequence)
        self._events[subject][event.sequence] = event

    def _sequenced(self, source: str) -> bool:
        topic = self._topic_of_source.get(source)
        return topic is None or topic.sequenced

    def _fault(self, kind: str, what: str) -> None:
        self.report_so_far.faults[kind].append(what)

    def _by_subject(self, source: str) -> Iterator[tuple[str, list[Event]]]:
        """Yield each subject of a source with its events in order."""
        for (own, subject), events in self._events.items():
            if own == source:
                yield subject, [events[n] for n in sorted(events)]

    def _ticket_events(self, ticket: str) -> list[Event]:
        """Return ingest's events of a ticket in order."""
        return [event for _, event in sorted(self._events.get(("/deskbus/ingest", ticket), {}).items())]


def place(record: TopicRecord) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
