"""The audit: finds what was lost, duplicated, assigned to two agents or forgotten, from the topics alone.

Pure: the collector is fed all records, those of a partition in order; `report` checks them together. A finding names
its subject. The layout of findings is in table.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cli.collector import Collector, Report
from cli.contents import message_ids, ticket_channel
from cli.reading import TopicRecord
from contracts import agents, assignments, commands, notifications, sla, tickets
from contracts.envelope import Event
from contracts.ticket import Direction, Message, Status, Ticket
from services.ingest.core.arrivals import message_id

OVERDUE = timedelta(seconds=15)
"""How late a breach may be announced before that is a finding: its partition may be moving between replicas."""

_DONE = frozenset({Status.SOLVED, Status.CLOSED})
_REDUCED = frozenset({Status.PENDING, Status.ON_HOLD})
"""Statuses in which a ticket may take a smaller share of its weight."""


@dataclass
class _Holding:
    """A period in which an agent had a ticket."""

    ticket: str
    start: float
    end: float
    weight: float


class Audit(Collector):
    """Checks everything that was fed."""

    def report(self, now: datetime | None = None) -> Report:
        """Check everything that was fed; with `now`, also for deadlines without an event."""
        self._check_gaps()
        self._check_messages()
        self._check_inbound()
        self._check_commands()
        self._check_tickets()
        self._check_assignments()
        self._check_clocks(now)
        self._check_escalations()
        return self.report_so_far

    def _check_gaps(self) -> None:
        for (source, subject), events in self._events.items():
            if self._sequenced(source):
                missing = [n for n in range(1, max(events)) if n not in events]
                if missing:
                    self._fault("gaps", f"{source} {subject}: {missing[:5]}")

    def _check_messages(self) -> None:
        """Check that every message is on one ticket once. After a merge or split, the new ticket repeats messages."""
        self._message_ids: set[str] = set()
        self._count["messages"] = 0
        first_event: dict[tuple[str, str], str] = {}
        for subject, events in self._by_subject("/deskbus/ingest"):
            moved = any(isinstance(e.data, tickets.TicketMerged | tickets.TicketSplit) for e in events)
            for event in events:
                for message in _messages(event):
                    self._count["messages"] += 1
                    if message.direction == Direction.IN:
                        self._message_ids |= {message.id, _id_by_channel(event, message)}
                    first = first_event.setdefault((message.direction, message.id), event.id)
                    if first != event.id and not (moved or _moved(event)):
                        self._fault("messages taken twice", f"{message.id} on {subject}: {first} and {event.id}")

    def _check_inbound(self) -> None:
        """Check that each inbound record caused an event, contains only known messages, or is a dead letter."""
        dead = {dict(x.original_headers).get("ce_id", b"").decode("utf-8", "replace") for x in self._letters}
        for receipt, (place, record) in self._inbound.items():
            contained, caused = message_ids(record), len(self._caused.get(receipt, ()))
            if receipt in dead or caused >= (1 if contained is None else len(contained)):
                continue
            channel = ticket_channel(record)
            ids = [message_id(channel, record.account, each) for each in contained or ()]
            if contained is None or not self._message_ids.issuperset(ids):
                self._fault("messages without effect", f"{place} receipt {receipt}")

    def _check_commands(self) -> None:
        """Check that each reply was sent once, failed or was rejected.

        Files sent as messages of their own have no text; their message ids tell them apart.
        """
        first_event: dict[tuple[str, str], str] = {}
        done: set[str] = set()
        for _, events in self._by_subject("/deskbus/ingest"):
            for event in events:
                data = event.data
                if isinstance(data, tickets.MessageSent | tickets.MessageFailed) and data.command_id:
                    done.add(data.command_id)
                    part = data.command_id, "" if data.message.text else data.message.id
                    first = first_event.setdefault(part, event.id)
                    if first != event.id and isinstance(data, tickets.MessageSent):
                        self._fault("replies sent twice", f"{data.command_id}: {first} and {event.id}")
                elif isinstance(data, tickets.CommandRejected) and data.command_id:
                    done.add(data.command_id)
        dead = {letter.value for letter in self._letters}
        for identifier, (command, raw) in self._commands.items():
            if isinstance(command.data, commands.Reply) and identifier not in done and raw not in dead:
                self.report_so_far.open["replies that were not sent"].append(identifier)

    def _check_tickets(self) -> None:
        clocked = {subject for subject, _ in self._by_subject("/deskbus/sla")}
        placed = {subject for subject, _ in self._by_subject("/deskbus/routing")}
        self._count["tickets"] = 0
        for subject, events in self._by_subject("/deskbus/ingest"):
            self._count["tickets"] += any(isinstance(e.data, tickets.TicketOpened) for e in events)
            last = _last_ticket(events)
            if last is None or last.handled_by_bot or last.merged_into:
                continue
            if subject not in clocked:
                self.report_so_far.open["tickets without a clock"].append(subject)
            if subject not in placed and last.status not in _DONE:
                self.report_so_far.open["tickets that routing has not seen"].append(subject)

    def _check_assignments(self) -> None:
        """Check that no ticket has two agents, that none is left waiting, and that no agent is above capacity."""
        by_agent: dict[str, list[_Holding]] = defaultdict(list)
        self._count["assigned"] = self._count["waiting"] = 0
        for ticket, published in self._by_subject("/deskbus/routing"):
            current: tuple[str, _Holding] | None = None
            events = [event for event in published if not isinstance(event.data, assignments.TicketTransferAnswered)]
            for event in events:
                data = event.data
                if isinstance(data, assignments.TicketAssigned):
                    if current is not None:
                        self._fault(
                            "tickets with two agents", f"{ticket}: {current[0]} and {data.agent.id} at {event.id}"
                        )
                    weight = (data.load_after or 0) - (data.load_before or 0)
                    start = data.assigned_at.timestamp()
                    current = data.agent.id, _Holding(ticket, start, self._first_reduced(ticket, start), weight)
                    by_agent[data.agent.id].append(current[1])
                elif isinstance(data, assignments.TicketUnassigned) and current is not None:
                    current[1].end, current = min(current[1].end, data.unassigned_at.timestamp()), None
            if not events:
                continue
            last = events[-1].data
            queued = isinstance(last, assignments.TicketQueued | assignments.TicketRoutable)
            waits = current is None and (queued or isinstance(last, assignments.TicketUnroutable))
            self._count["assigned"] += current is not None
            self._count["waiting"] += waits
            if queued and current is None and self._needs_agent(ticket):
                self.report_so_far.open["tickets that wait for an agent"].append(ticket)
        self._check_capacity(by_agent)

    def _needs_agent(self, ticket: str) -> bool:
        """Return whether the ticket still has to be assigned: not if it was solved while it waited."""
        last = _last_ticket(self._ticket_events(ticket))
        return last is None or not (last.status in _DONE or last.merged_into or last.handled_by_bot)

    def _first_reduced(self, ticket: str, start: float) -> float:
        """Return when the ticket first was pending or on hold: from then on, only the policy knows its weight."""
        events = [event for event in self._ticket_events(ticket) if isinstance(event.data, tickets.TicketEvent)]
        statuses = [(event.time.timestamp(), event.data.ticket.status) for event in events]
        before = [status for at, status in statuses if at <= start][-1:]
        after = [(at, status) for at, status in statuses if at > start]
        known = [*((start, status) for status in before), *after]
        return next((at for at, status in known if status in _REDUCED), float("inf"))

    def _check_capacity(self, by_agent: dict[str, list[_Holding]]) -> None:
        """Check every agent's peak load. At one instant, periods end before others start."""
        capacity: dict[str, float] = {}
        for agent, events in self._by_subject("/deskbus/routing/agents"):
            values = [e.data.agent.capacity for e in events if isinstance(e.data, agents.AgentUpdated)]
            capacity[agent] = max(values, default=float("inf"))
        for agent, holdings in by_agent.items():
            steps = sorted([(h.start, 1, h.weight) for h in holdings] + [(h.end, 0, -h.weight) for h in holdings])
            load = peak = 0.0
            for _, _, change in steps:
                load += change
                peak = max(peak, load)
            if peak > capacity.get(agent, float("inf")) + 1e-9:
                self._fault("agents above capacity", f"{agent}: {peak} of {capacity[agent]}")

    def _check_clocks(self, now: datetime | None) -> None:
        seen: set[tuple[str, str]] = set()
        self._count["clocks"] = self._count["breaches"] = self._count["met"] = 0
        for _, events in self._by_subject("/deskbus/sla"):
            latest: dict[str, sla.ClockEvent] = {}
            for event in events:
                data = event.data
                if not isinstance(data, sla.ClockEvent):
                    continue
                latest[data.clock_id] = data
                self._count["clocks"] += isinstance(data, sla.ClockStarted)
                self._count["met"] += isinstance(data, sla.ClockMet)
                if isinstance(data, sla.ClockBreached):
                    self._count["breaches"] += 1
                    deadline = data.clock_id, data.breached_at.isoformat()
                    if deadline in seen:
                        self._fault("breaches announced twice", event.id)
                    seen.add(deadline)
            for data in latest.values():
                ended = isinstance(data, sla.ClockBreached | sla.ClockMet | sla.ClockCancelled)
                if now is not None and not ended and data.due_at is not None and data.due_at + OVERDUE < now:
                    self._fault("deadlines that passed in silence", f"{data.clock_id}, due at {data.due_at:%FT%TZ}")

    def _check_escalations(self) -> None:
        names = "escalations", "acknowledged", "notifications", "notifications failed"
        self._count.update(dict.fromkeys(names, 0))
        for escalation, events in self._by_subject("/deskbus/notify"):
            steps: set[tuple[str, str, int, int]] = set()
            sent: set[str] = set()
            for event in events:
                data = event.data
                if isinstance(data, notifications.EscalationOpened):
                    self._count["escalations"] += 1
                    steps = {step for step in steps if step[:2] != _alarm(data.alert, data.chain)}
                elif isinstance(data, notifications.EscalationAcknowledged):
                    self._count["acknowledged"] += 1
                    steps = set()  # it may be undone, and then the chain starts again
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
    """Return what distinguishes the alarms of one escalation: the alert, its start, and the chain."""
    about = "" if alert is None else f"{alert.name} {alert.cause} {alert.started_at.isoformat()}"
    return about, chain or ""


def audit(records: Iterable[TopicRecord], now: datetime | None = None) -> Report:
    """Audit records in memory."""
    collected = Audit()
    for record in records:
        collected.feed(record)
    return collected.report(now)


def _messages(event: Event) -> Sequence[Message]:
    has_message = isinstance(event.data, tickets.TicketOpened | tickets.MessageReceived | tickets.MessageSent)
    return [event.data.message] if has_message and event.data.message else []


def _id_by_channel(event: Event, message: Message) -> str:
    """Return the message's id as made from the channel's id alone; the id of a mail depends on its sender too."""
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
