"""The audit: from the topics alone, was anything lost, doubled, given to two people or forgotten?

Pure: records are fed in, in any order; `report` looks at all of them together. Each finding names what it is about.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from contracts import agents, assignments, notifications, sla, tickets, topics
from contracts.dlq import DeadLetter
from contracts.envelope import Event
from contracts.inbound import InboundRecord
from contracts.ticket import Status, Ticket

from cli.reading import Line

Subject = tuple[str, str]
"""Source and subject."""


@dataclass
class Report:
    """What the audit found. `faults` must be empty; `open` is work in progress, and a fault once all should be done."""

    counts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    open: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def clean(self) -> bool:
        """Say whether no fault was found."""
        return not any(self.faults.values())


@dataclass
class _Holding:
    """A span in which an agent held a ticket."""

    ticket: str
    start: float
    end: float
    weight: float


class Audit:
    """Collects what it is fed. Events are kept by number, so a resend counts as a duplicate on the log, not in effect."""

    def __init__(self) -> None:
        self._events: dict[Subject, dict[int, Event]] = defaultdict(dict)
        self._digests: dict[str, bytes] = {}
        self._first_seen: dict[Subject, int] = {}
        self._letters: list[DeadLetter] = []
        self._inbound: dict[str, tuple[str, bytes]] = {}
        self._caused: set[str] = set()
        self._topic_of_source = {s: t for t in topics.TOPICS for s in t.sources}
        self.report_so_far = Report()
        self._count = self.report_so_far.counts
        for name in ("inbound", "events", "resends", "dead letters"):
            self._count[name] = 0

    # -- feeding -------------------------------------------------------------------------------------------------

    def feed(self, line: Line) -> None:
        """Take one record."""
        if line.topic == topics.INBOUND:
            self._feed_inbound(line)
        elif line.topic.endswith(".dlq.v1"):
            self._count["dead letters"] += 1
            self._letters.append(DeadLetter.from_kafka(line.key, line.value, line.headers))
        elif line.topic in topics.BY_NAME and topics.BY_NAME[line.topic].sources:
            self._feed_event(line)

    def _feed_inbound(self, line: Line) -> None:
        self._count["inbound"] += 1
        record = InboundRecord.from_kafka(line.value, line.headers)
        digest = hashlib.sha256(f"{record.channel}/{record.account}/".encode() + (line.value or b"")).digest()
        self._inbound[record.receipt] = f"{line.topic}/{line.partition}/{line.offset}", digest

    def _feed_event(self, line: Line) -> None:
        try:
            event = Event.parse(line.value or b"")
        except ValueError as error:
            self._fault("unreadable events", f"{line.topic}/{line.partition}/{line.offset}: {error}")
            return
        self._count["events"] += 1
        if event.causationid:
            self._caused.add(event.causationid)
        digest = hashlib.blake2b(line.value or b"", digest_size=16).digest()
        if (known := self._digests.get(event.id)) is not None:
            self._count["resends"] += 1
            if known != digest:
                self._fault("two different events with one id", event.id)
            return
        self._digests[event.id] = digest
        where = event.source, event.subject
        if self._first_seen.get(where, 0) > event.sequence and self._sequenced(event.source):
            self._fault("events out of order", event.id)
        self._first_seen[where] = max(self._first_seen.get(where, 0), event.sequence)
        self._events[where][event.sequence] = event

    def _sequenced(self, source: str) -> bool:
        topic = self._topic_of_source.get(source)
        return topic is None or topic.sequenced

    def _fault(self, kind: str, what: str) -> None:
        self.report_so_far.faults[kind].append(what)

    # -- looking -------------------------------------------------------------------------------------------------

    def report(self) -> Report:
        """Look at everything that was fed."""
        self._gaps()
        self._inbound_accounted()
        self._tickets()
        self._assignments()
        self._breaches()
        self._escalations()
        return self.report_so_far

    def _of(self, source: str) -> Iterator[tuple[str, list[Event]]]:
        """Yield each subject of a source with its events in order."""
        for (own, subject), events in self._events.items():
            if own == source:
                yield subject, [events[n] for n in sorted(events)]

    def _gaps(self) -> None:
        for (source, subject), events in self._events.items():
            if self._sequenced(source):
                missing = [n for n in range(1, max(events)) if n not in events]
                if missing:
                    self._fault("gaps", f"{source} {subject}: {missing[:5]}")

    def _inbound_accounted(self) -> None:
        """Each message led to an event, is a repeat of one that did, or lies in the DLQ with its reason."""
        dead = {dict(x.original_headers).get("ce_id", b"").decode("utf-8", "replace") for x in self._letters}
        effective = {digest for receipt, (_, digest) in self._inbound.items() if receipt in self._caused}
        for receipt, (place, digest) in self._inbound.items():
            if receipt not in self._caused and receipt not in dead and digest not in effective:
                self._fault("messages without effect", f"{place} receipt {receipt}")

    def _tickets(self) -> None:
        messages: dict[str, str] = {}
        clocked = {e.data.ticket_id for _, es in self._of("/deskbus/sla") for e in es if e.known}
        placed = {s for s, _ in self._of("/deskbus/routing")}
        self._count["tickets"] = self._count["messages"] = 0
        for subject, events in self._of("/deskbus/ingest"):
            self._count["tickets"] += any(isinstance(e.data, tickets.TicketOpened) for e in events)
            for event in events:
                for message_id in _message_ids(event):
                    self._count["messages"] += 1
                    if message_id in messages:
                        self._fault("messages taken twice", f"{message_id}: {messages[message_id]} and {event.id}")
                    messages[message_id] = event.id
            last = _last_ticket(events)
            if last is None or last.handled_by_bot or last.merged_into:
                continue
            if subject not in clocked:
                self.report_so_far.open["tickets without a clock"].append(subject)
            if subject not in placed and last.status not in {Status.SOLVED, Status.CLOSED}:
                self.report_so_far.open["tickets that routing has not seen"].append(subject)

    def _assignments(self) -> None:
        spans: dict[str, list[_Holding]] = defaultdict(list)
        self._count["assigned"] = self._count["waiting"] = 0
        for ticket, events in self._of("/deskbus/routing"):
            held: tuple[str, _Holding] | None = None
            for event in events:
                data = event.data
                if isinstance(data, assignments.TicketAssigned):
                    if held is not None:
                        self._fault("tickets with two agents", f"{ticket}: {held[0]} and {data.agent.id} at {event.id}")
                    weight = (data.load_after or 0) - (data.load_before or 0)
                    held = data.agent.id, _Holding(ticket, data.assigned_at.timestamp(), float("inf"), weight)
                    spans[data.agent.id].append(held[1])
                elif isinstance(data, assignments.TicketUnassigned) and held is not None:
                    held[1].end, held = data.unassigned_at.timestamp(), None
            waits = held is None and isinstance(
                events[-1].data, assignments.TicketQueued | assignments.TicketUnroutable
            )
            self._count["assigned"] += held is not None
            self._count["waiting"] += waits
            if waits:
                self.report_so_far.open["tickets that wait for an agent"].append(ticket)
        self._capacity(spans)

    def _capacity(self, spans: dict[str, list[_Holding]]) -> None:
        """Replay every agent's load; at one instant what ends goes before what begins."""
        most: dict[str, float] = {}
        for agent, events in self._of("/deskbus/routing/agents"):
            caps = [e.data.agent.capacity for e in events if isinstance(e.data, agents.AgentUpdated)]
            most[agent] = max(caps, default=float("inf"))
        for agent, holdings in spans.items():
            steps = sorted([(h.start, 1, h.weight) for h in holdings] + [(h.end, 0, -h.weight) for h in holdings])
            load = peak = 0.0
            for _, _, change in steps:
                load += change
                peak = max(peak, load)
            if peak > most.get(agent, float("inf")) + 1e-9:
                self._fault("agents above capacity", f"{agent}: {peak} of {most[agent]}")

    def _breaches(self) -> None:
        seen: set[tuple[str, str]] = set()
        self._count["clocks"] = self._count["breaches"] = 0
        for _, events in self._of("/deskbus/sla"):
            for event in events:
                self._count["clocks"] += isinstance(event.data, sla.ClockStarted)
                if isinstance(event.data, sla.ClockBreached):
                    self._count["breaches"] += 1
                    deadline = event.data.clock_id, event.data.breached_at.isoformat()
                    if deadline in seen:
                        self._fault("breaches announced twice", event.id)
                    seen.add(deadline)

    def _escalations(self) -> None:
        self._count["escalations"] = self._count["notifications"] = 0
        for escalation, events in self._of("/deskbus/notify"):
            steps: set[tuple[int, int]] = set()
            sent: set[str] = set()
            for event in events:
                data = event.data
                if isinstance(data, notifications.EscalationOpened):
                    self._count["escalations"] += 1
                    steps = set()
                elif isinstance(data, notifications.EscalationStepReached):
                    if (data.round, data.step) in steps:
                        self._fault("escalation steps reached twice", f"{escalation} step {data.step} at {event.id}")
                    steps.add((data.round, data.step))
                elif isinstance(data, notifications.NotificationSent):
                    self._count["notifications"] += 1
                    if data.notification_id in sent:
                        self._fault("notifications sent twice", event.id)
                    sent.add(data.notification_id)


def audit(lines: Iterable[Line]) -> Report:
    """Audit records that are at hand."""
    whole = Audit()
    for line in lines:
        whole.feed(line)
    return whole.report()


def _message_ids(event: Event) -> Iterator[str]:
    if (
        isinstance(event.data, tickets.TicketOpened | tickets.MessageReceived | tickets.MessageSent)
        and event.data.message
    ):
        yield f"{event.data.message.direction}:{event.data.message.id}"


def _last_ticket(events: list[Event]) -> Ticket | None:
    for event in reversed(events):
        ticket = getattr(event.data, "ticket", None)
        if ticket is not None:
            return Ticket.model_validate(ticket)
    return None
