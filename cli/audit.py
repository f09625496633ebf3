"""The audit: from the topics alone, was anything lost, doubled, given to two people or forgotten?

Pure: records are fed in, each partition in its order; `report` looks at all of them together. A finding names what it
is about. How findings are shown is table.py's.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cli.contents import message_ids
from cli.reading import Line
from contracts import agents, assignments, commands, notifications, sla, tickets, topics
from contracts.dlq import DeadLetter
from contracts.envelope import Command, Event
from contracts.inbound import InboundRecord
from contracts.ticket import Direction, Message, Status, Ticket
from services.ingest.core.arrivals import message_id

OVERDUE = timedelta(seconds=15)
"""How long after its deadline a clock may be silent before that is a finding: a partition may just be moving."""

_DONE = frozenset({Status.SOLVED, Status.CLOSED})
_RESTING = frozenset({Status.PENDING, Status.ON_HOLD})

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

    def holds(self, *, settled: bool) -> bool:
        """Say whether all is well; where all should be settled, nothing may be open either."""
        return self.clean and not (settled and any(self.open.values()))


@dataclass
class _Holding:
    """A span in which an agent held a ticket."""

    ticket: str
    start: float
    end: float
    weight: float


class Audit:
    """Collects what it is fed. Events are kept by number: a resend is a duplicate on the log, not in effect."""

    def __init__(self) -> None:
        self._events: dict[Subject, dict[int, Event]] = defaultdict(dict)
        self._digests: dict[str, bytes] = {}
        self._first_seen: dict[Subject, int] = {}
        self._letters: list[DeadLetter] = []
        self._inbound: dict[str, tuple[str, InboundRecord]] = {}
        self._commands: dict[str, tuple[Command, bytes]] = {}
        self._caused: dict[str, set[str]] = defaultdict(set)
        self._topic_of_source = {s: t for t in topics.TOPICS for s in t.sources}
        self.report_so_far = Report()
        self._count = self.report_so_far.counts
        for name in ("inbound", "commands", "events", "resends", "dead letters"):
            self._count[name] = 0

    # -- feeding -------------------------------------------------------------------------------------------------

    def feed(self, line: Line) -> None:
        """Take one record."""
        if line.topic == topics.INBOUND:
            self._count["inbound"] += 1
            self._feed_inbound(line)
        elif line.topic == topics.COMMAND:
            self._feed_command(line)
        elif line.topic.endswith(".dlq.v1"):
            self._count["dead letters"] += 1
            self._feed_letter(line)
        elif line.topic in topics.BY_NAME and topics.BY_NAME[line.topic].sources:
            self._feed_event(line)

    def _feed_inbound(self, line: Line) -> None:
        try:
            record = InboundRecord.from_kafka(line.value, line.headers)
        except ValueError as error:
            self._fault("unreadable records", f"{_place(line)}: {error}")
            return
        self._inbound[record.receipt] = _place(line), record

    def _feed_command(self, line: Line) -> None:
        try:
            command = Command.parse(line.value or b"")
        except ValueError:
            return  # anyone may write there; what cannot be read goes to the DLQ, where it is counted
        self._count["commands"] += command.id not in self._commands
        self._commands[command.id] = command, line.value or b""

    def _feed_letter(self, line: Line) -> None:
        try:
            self._letters.append(DeadLetter.from_kafka(line.key, line.value, line.headers))
        except ValueError as error:
            self._fault("unreadable records", f"{_place(line)}: {error}")

    def _feed_event(self, line: Line) -> None:
        try:
            event = Event.parse(line.value or b"")
        except ValueError as error:
            self._fault("unreadable records", f"{_place(line)}: {error}")
            return
        self._count["events"] += 1
        if event.causationid and line.topic == topics.TICKETS:
            self._caused[event.causationid].add(event.id)
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

    def report(self, now: datetime | None = None) -> Report:
        """Look at everything that was fed; with an instant, also for deadlines that passed in silence."""
        self._gaps()
        self._messages()
        self._inbound_accounted()
        self._commands_accounted()
        self._tickets()
        self._assignments()
        self._clocks(now)
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

    def _messages(self) -> None:
        """Every message is on one ticket once; what was merged or split is told again by its new ticket."""
        self._taken: set[str] = set()
        self._count["messages"] = 0
        told: dict[tuple[str, str], str] = {}
        for subject, events in self._of("/deskbus/ingest"):
            moved = any(isinstance(e.data, tickets.TicketMerged | tickets.TicketSplit) for e in events)
            for event in events:
                for message in _messages(event):
                    self._count["messages"] += 1
                    if message.direction == Direction.IN:
                        self._taken |= {message.id, _by_channel(event, message)}
                    again = told.setdefault((message.direction, message.id), event.id)
                    if again != event.id and not (moved or _moved(event)):
                        self._fault("messages taken twice", f"{message.id} on {subject}: {again} and {event.id}")

    def _inbound_accounted(self) -> None:
        """Each record led to an event, holds only what is known already, or lies in the DLQ with its reason."""
        dead = {dict(x.original_headers).get("ce_id", b"").decode("utf-8", "replace") for x in self._letters}
        for receipt, (place, record) in self._inbound.items():
            holds, led_to = message_ids(record), len(self._caused.get(receipt, ()))
            if receipt in dead or led_to >= (1 if holds is None else len(holds)):
                continue
            ours = [message_id(record.channel, record.account, each) for each in holds or ()]
            if holds is None or not self._taken.issuperset(ours):
                self._fault("messages without effect", f"{place} receipt {receipt}")

    def _commands_accounted(self) -> None:
        """A reply is sent once, or refused; nobody who waits for it may wait in vain.

        Files that leave as messages of their own have no text, and are told apart by their ids.
        """
        told: dict[tuple[str, str], str] = {}
        done: set[str] = set()
        for _, events in self._of("/deskbus/ingest"):
            for event in events:
                data = event.data
                if isinstance(data, tickets.MessageSent | tickets.MessageFailed) and data.command_id:
                    done.add(data.command_id)
                    piece = data.command_id, "" if data.message.text else data.message.id
                    first = told.setdefault(piece, event.id)
                    if first != event.id and isinstance(data, tickets.MessageSent):
                        self._fault("replies sent twice", f"{data.command_id}: {first} and {event.id}")
                elif isinstance(data, tickets.CommandRejected) and data.command_id:
                    done.add(data.command_id)
        dead = {letter.value for letter in self._letters}
        for identifier, (command, raw) in self._commands.items():
            if isinstance(command.data, commands.Reply) and identifier not in done and raw not in dead:
                self.report_so_far.open["replies that were not sent"].append(identifier)

    def _tickets(self) -> None:
        clocked = {subject for subject, _ in self._of("/deskbus/sla")}
        placed = {subject for subject, _ in self._of("/deskbus/routing")}
        self._count["tickets"] = 0
        for subject, events in self._of("/deskbus/ingest"):
            self._count["tickets"] += any(isinstance(e.data, tickets.TicketOpened) for e in events)
            last = _last_ticket(events)
            if last is None or last.handled_by_bot or last.merged_into:
                continue
            if subject not in clocked:
                self.report_so_far.open["tickets without a clock"].append(subject)
            if subject not in placed and last.status not in _DONE:
                self.report_so_far.open["tickets that routing has not seen"].append(subject)

    def _assignments(self) -> None:
        spans: dict[str, list[_Holding]] = defaultdict(list)
        self._count["assigned"] = self._count["waiting"] = 0
        for ticket, told in self._of("/deskbus/routing"):
            held: tuple[str, _Holding] | None = None
            events = [event for event in told if not isinstance(event.data, assignments.TicketTransferAnswered)]
            for event in events:
                data = event.data
                if isinstance(data, assignments.TicketAssigned):
                    if held is not None:
                        self._fault("tickets with two agents", f"{ticket}: {held[0]} and {data.agent.id} at {event.id}")
                    weight = (data.load_after or 0) - (data.load_before or 0)
                    start = data.assigned_at.timestamp()
                    held = data.agent.id, _Holding(ticket, start, self._first_rest(ticket, start), weight)
                    spans[data.agent.id].append(held[1])
                elif isinstance(data, assignments.TicketUnassigned) and held is not None:
                    held[1].end, held = min(held[1].end, data.unassigned_at.timestamp()), None
            if not events:
                continue
            last = events[-1].data
            queued = isinstance(last, assignments.TicketQueued | assignments.TicketRoutable)
            waits = held is None and (queued or isinstance(last, assignments.TicketUnroutable))
            self._count["assigned"] += held is not None
            self._count["waiting"] += waits
            if queued and held is None and self._wants_somebody(ticket):
                self.report_so_far.open["tickets that wait for an agent"].append(ticket)
        self._capacity(spans)

    def _wants_somebody(self, ticket: str) -> bool:
        """Say whether the ticket is still to be given to somebody: one that is solved while it waits is not."""
        last = _last_ticket([e for _, e in sorted(self._events.get(("/deskbus/ingest", ticket), {}).items())])
        return last is None or not (last.status in _DONE or last.merged_into or last.handled_by_bot)

    def _first_rest(self, ticket: str, start: float) -> float:
        """When somebody else owed an answer first: what the ticket weighs from then on, only the policy says."""
        told = [event for _, event in sorted(self._events.get(("/deskbus/ingest", ticket), {}).items())]
        statuses = [(e.time.timestamp(), e.data.ticket.status) for e in told if isinstance(e.data, tickets.TicketEvent)]
        before = [status for at, status in statuses if at <= start][-1:]
        after = [(at, status) for at, status in statuses if at > start]
        known = [*((start, status) for status in before), *after]
        return next((at for at, status in known if status in _RESTING), float("inf"))

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

    def _clocks(self, now: datetime | None) -> None:
        seen: set[tuple[str, str]] = set()
        self._count["clocks"] = self._count["breaches"] = self._count["met"] = 0
        for _, events in self._of("/deskbus/sla"):
            running: dict[str, sla.ClockEvent] = {}
            for event in events:
                data = event.data
                if not isinstance(data, sla.ClockEvent):
                    continue
                running[data.clock_id] = data
                self._count["clocks"] += isinstance(data, sla.ClockStarted)
                self._count["met"] += isinstance(data, sla.ClockMet)
                if isinstance(data, sla.ClockBreached):
                    self._count["breaches"] += 1
                    deadline = data.clock_id, data.breached_at.isoformat()
                    if deadline in seen:
                        self._fault("breaches announced twice", event.id)
                    seen.add(deadline)
            for data in running.values():
                over = isinstance(data, sla.ClockBreached | sla.ClockMet | sla.ClockCancelled)
                if now is not None and not over and data.due_at is not None and data.due_at + OVERDUE < now:
                    self._fault("deadlines that passed in silence", f"{data.clock_id}, due at {data.due_at:%FT%TZ}")

    def _escalations(self) -> None:
        names = "escalations", "acknowledged", "notifications", "notifications failed"
        self._count.update(dict.fromkeys(names, 0))
        for escalation, events in self._of("/deskbus/notify"):
            steps: set[tuple[str, str, int, int]] = set()
            sent: set[str] = set()
            for event in events:
                data = event.data
                if isinstance(data, notifications.EscalationOpened):
                    self._count["escalations"] += 1
                    steps = {step for step in steps if step[:2] != _alarm(data.alert, data.chain)}
                elif isinstance(data, notifications.EscalationAcknowledged):
                    self._count["acknowledged"] += 1
                    steps = set()  # one that is forgotten is undone, and the chain begins again
                elif isinstance(data, notifications.EscalationStepReached):
                    step = (*_alarm(data.alert, data.chain), data.round, data.step)
                    if step in steps and data.chain is not None:
                        self._fault("escalation steps reached twice", f"{escalation} step {data.step} at {event.id}")
                    steps.add(step)
                elif isinstance(data, notifications.NotificationSent):
                    self._count["notifications"] += 1
                    if data.notification_id in sent:
                        self._fault("notifications sent twice", event.id)
                    sent.add(data.notification_id)
                elif isinstance(data, notifications.NotificationFailed):
                    self._count["notifications failed"] += 1


def _alarm(alert: notifications.Alert | None, chain: str | None) -> tuple[str, str]:
    """What tells the alarms of one escalation apart: what is the matter, since when, and the chain."""
    about = "" if alert is None else f"{alert.name} {alert.cause} {alert.started_at.isoformat()}"
    return about, chain or ""


def _place(line: Line) -> str:
    return f"{line.topic}/{line.partition}/{line.offset}"


def audit(lines: Iterable[Line], now: datetime | None = None) -> Report:
    """Audit records that are at hand."""
    whole = Audit()
    for line in lines:
        whole.feed(line)
    return whole.report(now)


def _messages(event: Event) -> Sequence[Message]:
    told = isinstance(event.data, tickets.TicketOpened | tickets.MessageReceived | tickets.MessageSent)
    return [event.data.message] if told and event.data.message else []


def _by_channel(event: Event, message: Message) -> str:
    """The id by what the channel calls the message: of a mail, the sender has a part in its own id too."""
    ticket: Ticket = event.data.ticket
    return message_id(ticket.channel, ticket.account, message.channel_message_id or "")


def _moved(event: Event) -> bool:
    ticket = getattr(event.data, "ticket", None)
    return isinstance(ticket, Ticket) and bool(ticket.merged_into or ticket.split_from)


def _last_ticket(events: list[Event]) -> Ticket | None:
    for event in reversed(events):
        if isinstance(ticket := getattr(event.data, "ticket", None), Ticket):
            return ticket
    return None
